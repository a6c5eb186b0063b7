package main

import (
	"context"
	"database/sql"
	"errors"
)

const sqliteFloorTables = `create table pool (id integer primary key, balance bigint not null check (balance >= 0));
create table transfer (id integer primary key, idem blob not null unique, src bigint not null, dst bigint not null, n bigint not null check (n > 0),
  at text not null default current_timestamp);
with recursive i(n) as (select 0 union all select n + 1 from i where n < 10000) insert into pool select n, 1000000000 from i;`

const (
	sqliteInsert = "insert into transfer (idem, src, dst, n) values (?, ?, ?, 1) on conflict (idem) do nothing"
	sqliteTake   = "update pool set balance = balance - 1 where id = ? and balance >= 1"
	sqliteAdd    = "update pool set balance = balance + 1 where id = ?"
)

// sqliteFloor is the same tables in a file, durable at each commit, with the statements prepared.
type sqliteFloor struct {
	*sql.DB
	insert, take, add *sql.Stmt
	drop              func() error
}

func openSQLiteFloor(ctx context.Context, h *host) (f sqliteFloor, err error) {
	dsn, drop, err := h.fresh()
	if err != nil {
		return f, err
	}
	f.drop = drop
	if f.DB, err = sqlite(dsn); err != nil {
		return f, err
	}
	_, err = f.ExecContext(ctx, sqliteFloorTables)
	for s, query := range map[**sql.Stmt]string{&f.insert: sqliteInsert, &f.take: sqliteTake, &f.add: sqliteAdd} {
		if err == nil {
			*s, err = f.PrepareContext(ctx, query)
		}
	}
	if err != nil {
		err = errors.Join(err, f.close())
	}
	return f, err
}

// sqliteFloors is "sqlite-tx", a plain transaction as one writes it by hand.
func sqliteFloors(ctx context.Context, h *host, callers int, ends ends) ([]target, error) {
	f, err := openSQLiteFloor(ctx, h)
	if err != nil {
		return nil, err
	}
	return []target{{name: "sqlite-tx", books: f.books, close: f.close, call: withEnds(callers, ends, f.transfer)}}, nil
}

func (f sqliteFloor) transfer(ctx context.Context, key [16]byte, from, to int64) error {
	tx, err := f.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after the commit it does nothing
	if n, err := affected(tx.StmtContext(ctx, f.insert).ExecContext(ctx, key[:], from, to)); err != nil || n == 0 {
		return errors.Join(err, errReplayed)
	}
	if n, err := affected(tx.StmtContext(ctx, f.take).ExecContext(ctx, from)); err != nil || n == 0 {
		return errors.Join(err, errRefused)
	}
	if _, err := tx.StmtContext(ctx, f.add).ExecContext(ctx, to); err != nil {
		return err
	}
	return tx.Commit()
}

func affected(r sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return r.RowsAffected()
}

func (f sqliteFloor) books(ctx context.Context, done, failed int) error {
	var transfers, wrong int
	if err := f.QueryRowContext(ctx, floorBooks).Scan(&transfers, &wrong); err != nil {
		return err
	}
	return balanced(transfers, wrong, done, failed)
}

func (f sqliteFloor) close() error { return errors.Join(f.Close(), f.drop()) }
