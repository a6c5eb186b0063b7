// Package ledger is the double-entry engine under licences and money.
//
// Invariants:
//   - A balance is named by (book, owner, unit, state, lot). A transfer moves a positive quantity from one balance to another of
//     the same book and unit, so every book sums to zero in every unit. Both are int64.
//   - Only the issuer, and in money a contract, may be below zero. The database itself refuses any other overdraw (CHECK), and
//     any UPDATE or DELETE of a transfer (trigger).
//   - The row of an owner's undated held units is the head of all its rows of that unit: who holds its lock holds them all. Heads are
//     locked in ascending id order; two transfers can wait for each other, never in a circle.
//   - A transfer of several lots is several rows, its parts, with one key. Lots leave in the order in which they run out, the undated last.
//   - What time does, a lot or a reservation that runs out, holds from that moment; the next call that takes the account writes it down.
//   - A batch that is decided on what is remembered of its accounts ([Recent]) holds no lock while it is decided on: what it writes fails
//     unless every account is still as it was remembered.
//   - A transfer's recorded time is max(now, last of both accounts + 1 µs), and later than all that has been told of either ([Await]): per
//     account it follows the order of the balances even if the clock jumps back. Ids do not. Effective time is the business's and may
//     lie earlier.
//   - A key acts once per (partner, verb): the same key and content gives the first transfer again, other content [ErrMismatch].
//   - Corrections are new transfers. [Verify] rebuilds every balance from the transfers.
//
// Callers decide who may move what, before they post; the engine knows owners, not people.
package ledger
