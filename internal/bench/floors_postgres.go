package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
)

// The floors' tables: a balance each pool, a history with a unique key. That is all they keep: no access check, no audit, no running balances.
const (
	floorPools  = 10_001
	floorStock  = 1_000_000_000
	floorTables = `create table pool (id bigint primary key, balance bigint not null check (balance >= 0)) with (fillfactor = 50);
create table transfer (id bigint generated always as identity primary key, idem uuid not null unique,
  src bigint not null, dst bigint not null, n bigint not null check (n > 0), at timestamptz not null default now());
insert into pool select i, 1000000000 from generate_series(0, 10000) i;`
	floorFunction = `create function move(k uuid, a bigint, b bigint, q bigint) returns int language plpgsql as $$
begin
  insert into transfer (idem, src, dst, n) values (k, a, b, q) on conflict (idem) do nothing;
  if not found then return 2; end if;
  if a < b then
    update pool set balance = balance - q where id = a and balance >= q;
    if not found then raise exception 'refused'; end if;
    update pool set balance = balance + q where id = b;
  else
    update pool set balance = balance + q where id = b;
    update pool set balance = balance - q where id = a and balance >= q;
    if not found then raise exception 'refused'; end if;
  end if;
  return 1;
end $$`
)

var (
	errRefused  = errors.New("refused")
	errReplayed = errors.New("a fresh key was seen before")
)

// postgresFloor is pools and transfers on PostgreSQL.
type postgresFloor struct {
	*pgxpool.Pool
	drop func() error
}

func openPostgresFloor(ctx context.Context, h *host, callers int, statements ...string) (postgresFloor, error) {
	dsn, drop, err := h.fresh()
	if err != nil {
		return postgresFloor{}, err
	}
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return postgresFloor{}, err
	}
	config.MaxConns = int32(connections(callers))
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return postgresFloor{}, err
	}
	f := postgresFloor{pool, drop}
	for _, s := range append(statements, "vacuum analyze") {
		if _, err := f.Exec(ctx, s); err != nil {
			return f, errors.Join(err, f.close())
		}
	}
	return f, nil
}

func (f postgresFloor) close() error {
	f.Close()
	return f.drop()
}

// postgresFloors are "pgx-tx", a plain transaction as one writes it by hand, and, to know by, "pgx-func", the same in one round trip.
func postgresFloors(ctx context.Context, h *host, callers int, ends ends) ([]target, error) {
	tx, err := openPostgresFloor(ctx, h, callers, floorTables)
	if err != nil {
		return nil, err
	}
	list := []target{{name: "pgx-tx", books: tx.books, close: tx.close, call: withEnds(callers, ends, tx.transfer)}}
	if h.quick {
		return list, nil
	}
	fn, err := openPostgresFloor(ctx, h, callers, floorTables, floorFunction)
	if err != nil {
		return list, err
	}
	return append(list, target{name: "pgx-func", books: fn.books, close: fn.close, call: withEnds(callers, ends, fn.move)}), nil
}

const (
	insertTransfer = "insert into transfer (idem, src, dst, n) values ($1, $2, $3, 1) on conflict (idem) do nothing"
	takeFrom       = "update pool set balance = balance - $2 where id = $1 and balance >= $2"
	addTo          = "update pool set balance = balance + $2 where id = $1"
)

func (f postgresFloor) transfer(ctx context.Context, key [16]byte, from, to int64) error {
	return pgx.BeginFunc(ctx, f.Pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, insertTransfer, pgtype.UUID{Bytes: key, Valid: true}, from, to)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return errReplayed
		}
		take := func() error {
			tag, err := tx.Exec(ctx, takeFrom, from, 1)
			if err == nil && tag.RowsAffected() == 0 {
				err = errRefused
			}
			return err
		}
		give := func() error {
			_, err := tx.Exec(ctx, addTo, to, 1)
			return err
		}
		if from > to { // the lower pool first, or two transfers could wait for each other
			take, give = give, take
		}
		if err := take(); err != nil {
			return err
		}
		return give()
	})
}

func (f postgresFloor) move(ctx context.Context, key [16]byte, from, to int64) error {
	var outcome int
	err := f.QueryRow(ctx, "select move($1, $2, $3, 1)", pgtype.UUID{Bytes: key, Valid: true}, from, to).Scan(&outcome)
	if err == nil && outcome != 1 {
		err = errReplayed
	}
	return err
}

// floorBooks finds the transfers, and the pools whose balance is not what they began with and what history adds.
const floorBooks = `select (select count(*) from transfer), (select count(*) from pool p
  left join (select id, sum(n) as n from (select dst as id, n from transfer union all select src, -n from transfer) x group by id) h on h.id = p.id
  where p.balance <> 1000000000 + coalesce(h.n, 0) or p.balance < 0)`

func (f postgresFloor) books(ctx context.Context, done, failed int) error {
	var transfers, wrong int
	if err := f.QueryRow(ctx, floorBooks).Scan(&transfers, &wrong); err != nil {
		return err
	}
	return balanced(transfers, wrong, done, failed)
}

// balanced judges what a look into the books found; a call that failed may have been made all the same.
func balanced(transfers, wrong, done, failed int) error {
	switch {
	case wrong > 0:
		return fmt.Errorf("%d balances do not follow from history", wrong)
	case transfers < done || transfers > done+failed:
		return fmt.Errorf("%d calls returned and %d failed, but there are %d transfers", done, failed, transfers)
	}
	return nil
}
