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
