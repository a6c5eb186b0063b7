package store

import (
	"context"
	"database/sql"

	"gorm.io/gorm"
)

// PoolOf is the pool that d's own GORM handle works on.
func PoolOf(d *DB) (*sql.DB, error) { return d.orm.DB() }

// MigrateWith runs one migration that this build does not have.
func MigrateWith(ctx context.Context, host *gorm.DB, version int, name, statements string) error {
	d, err := connect(ctx, host, Config{})
	if err != nil {
		return err
	}
	return InTx(ctx, d, func(tx *Tx) error { return tx.migrate(migration{version, name, 1, statements}) })
}

// LanesOf is how many lanes a group keeps.
func LanesOf[T any](g *Group[T]) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.lanes)
}

// CanPipeline tells whether a driver's connection is found to have a pipeline.
func CanPipeline(driverConn any) bool {
	_, can := batcherOf(driverConn)
	return can
}

// Pipelined tells whether tx has one.
func Pipelined(tx *Tx) bool {
	_, has := tx.pool.(*pipelined)
	return has
}

// Bind is what a statement becomes on its way to a database.
func Bind(postgres bool, query string, args ...any) (string, []any) {
	return bind(dialect{postgres: postgres}, query, args)
}
