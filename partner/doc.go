// Package partner is the floor: who is who, who may, what happened.
//
// A host opens it once over its own database and asks its desks: [Partners] for agreements, the tree of sub-partners and blocks,
// [Users] for people, [Accounts] for projects and other accounts, [Access] for log-in, sessions and decisions, [Activity] for what happened, [Program] for
// certification. The other rooms (license, …)
// are built on the [Registry].
//
// Invariants:
//   - Who acts travels in the context ([AsVendor], [AsCustomer], [WithSession]). No actor means [ErrForbidden], for reads too. The session is
//     read again by each call; a write holds what it decides on until it has committed.
//   - A caller sees its own organisation, what the tree lets it read below, and nothing else: another party's id answers
//     [ErrNotFound] whether it exists or not. Lists are restricted in their SQL; a single id is decided on before its rows are read.
//   - A member may what his rights say, within his scope, in his own organisation; nobody gives a right that he lacks. The vendor's
//     users may what their role says. One table holds who may do what; a change of it, of a right or of a scope holds from the next
//     call on.
//   - What a call changes, it changes in one transaction, with one audit row that names fields and never values. (A log-in and a
//     refused "taken" count in a transaction of their own, or the refusal would undo the count.) [Registry.In] puts calls into the
//     host's own transaction.
//   - Block, archive, close, password change, disabling and revoking end sessions for good: one opened before stays dead after the block is lifted.
//   - What people must be told is written with what it tells of, and sent at least once, by [Registry.Run] through Options.Notifier.
//   - An account is deleted when that was confirmed, or nobody has used it and both who are to be told were told twice; the host's data goes first, and what
//     a process leaves undone another does. What stays is ids and quantities, and a receipt.
//   - In a delegated session one acts and another is acted for: it does host work in one project, may no more than that project's own log-in, and ends
//     with whatever ends either. The audit names both.
//   - Passwords are kept as hashes only, tokens as digests only, but in a letter that waits (Options.Sealer). Host code and hashing never
//     run while a transaction is open.
//   - Every error matches exactly one of seven kinds, [ErrInvalid] to [ErrUnavailable], which tell the caller what to do.
//   - Nothing is global, nothing starts by import, Open starts no goroutine.
//
// Times are UTC with microseconds; money is int64 minor units of an ISO 4217 currency.
package partner
