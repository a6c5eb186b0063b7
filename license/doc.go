// Package license is the ledger of licences: define, grant, assign, move, return, prove.
//
// Invariants:
//   - The vendor's [Ledger.Grant] makes licences and its [Ledger.Revoke] takes them back; a move neither makes nor loses one. Nothing is
//     ever oversold: the database refuses it.
//   - A move takes from where the caller's session works ([partner.Access.SwitchTo]): the pool of its organisation, or the project it has
//     switched into. It stays inside one organisation.
//   - A move is whole or not at all. Quantities are positive integers up to [MaxQuantity].
//   - Every write takes an idempotency [Key]: the same key and content gives the first result again, also after the world has moved on.
//   - Transfers are immutable and carry two times: when they were recorded and from when they count. The balance follows the first;
//     [Ledger.HoldingsAt] answers both.
//   - [Ledger.Verify] rebuilds every balance from the transfers.
//
// Reasons and keys stay in the ledger for ever: keep personal data out of them.
package license
