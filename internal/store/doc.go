// Package store is the one door to the host's database: the handle, the transaction, the scope of a statement, the schema.
//
// Invariants:
//   - The SDK's own *gorm.DB stands over the host's *sql.DB; host settings and callbacks do not reach it, and its own do not
//     reach the host. The host's pool is never changed.
//   - A mutation is one [InTx]: it retries what another try can cure, never inside the host's transaction, where each call is
//     a savepoint. Host code never runs while one is open.
//   - A statement on a tenant's table carries a non-zero [Scope]; the predicate comes from the table catalogue.
//   - Times are UTC microseconds in BIGINT columns, money and quantities are BIGINT: SQLite keeps neither zones nor decimals.
//   - Errors leave as kinds of package fail, told apart by the driver's code, never by its text.
//
// Rooms use it; hosts cannot: [DB] has no method, and the functions here take types a host cannot name.
package store
