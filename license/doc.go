// Package license is the ledger of licences: define, grant, assign, return, reserve, use, seat, prove.
//
// Invariants:
//   - The vendor's [Ledger.Grant] makes licences and its [Ledger.Revoke] takes them back; a move neither makes nor loses one. Nothing is
//     ever oversold: the database refuses it.
//   - A move takes from where the caller's session works ([partner.Access.SwitchTo]): the pool of its organisation, or the project it has
//     switched into. It stays inside one organisation.
//   - A move is whole or not at all. Quantities are positive integers up to [MaxQuantity].
//   - Licences granted with [Valid] are a lot of their own. What runs out first is moved and used first. From the moment it has run out it
//     can be neither, whether or not anybody has written that down; so is a reservation void from its time on.
//   - What is reserved, used up or run out never moves. There are never more seats than available licences.
//   - Every write takes an idempotency [Key]: the same key and content gives the first result again, also after the world has moved on.
//   - Transfers are immutable and carry two times: when they were recorded and from when they count. The balance follows the first;
//     [Ledger.HoldingsAt] answers both. What has been told of the past stays so. A mistake is mended by a new transfer: [Ledger.Correct].
//   - [Ledger.Verify] rebuilds every balance from the transfers.
//
// Callers of Assign, Return and Consume at the same time share a commit: each is decided on for itself, by its own actor, and answered
// after the commit; the next commit is put together while the last one is on its way. Nobody waits for a pool that somebody else holds but
// those who want that pool.
//
// Reasons and keys stay in the ledger for ever: keep personal data out of them. The person of a seat goes with its project.
package license
