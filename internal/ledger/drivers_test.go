package ledger_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
)

// plain is a driver without a pipeline: statements go one by one.
type plain struct{ driver.Connector }

type conn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.NamedValueChecker
	driver.SessionResetter
}

type plainConn struct{ conn }

// Connect implements driver.Connector.
func (p plain) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := p.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	own, _ := c.(conn)
	return plainConn{own}, nil
}

// TestBEY12_GuessesOnEveryDriver: in each of pgx's modes, and where there is no pipeline.
func TestBEY12_GuessesOnEveryDriver(t *testing.T) {
	open := map[string]func(*dbtest.Database) *gorm.DB{
		"plain": func(db *dbtest.Database) *gorm.DB {
			cfg, err := pgx.ParseConfig(db.DSN)
			if err != nil {
				t.Fatal(err)
			}
			pool := sql.OpenDB(plain{stdlib.GetConnector(*cfg)})
			t.Cleanup(func() { _ = pool.Close() })
			host, err := gorm.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{})
			if err != nil {
				t.Fatal(err)
			}
			return host
		},
	}
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		open[mode] = func(db *dbtest.Database) *gorm.DB {
			db.DSN += " default_query_exec_mode=" + mode
			return db.Open(t, &gorm.Config{})
		}
	}
	for name, host := range open {
		t.Run(name, func(t *testing.T) {
			db := dbtest.New(t, dbtest.Postgres)
			db.DB = host(db)
			b := newBook(t, db)
			b.must(b.move(ledger.Issuer, "pool", 20))
			b.must(b.move(ledger.Issuer, "project", 1))
			var r ledger.Recent
			for _, guess := range []bool{false, true, true} {
				if _, err := b.turn(&r, guess, b.move("pool", "project", 1), b.move("pool", "project", 2)); err != nil {
					t.Fatal(err)
				}
			}
			b.guessed(&r, "refused", 90, nil)
			b.guessed(&r, "accepted", 1, nil)
			first := b.begin(&r, true, b.move("pool", "project", 2))
			if err := <-first.decided; err != nil {
				t.Fatal(err)
			}
			second := b.begin(&r, true, b.move("pool", "project", 3))
			if err := <-second.decided; err != nil {
				t.Fatal(err)
			}
			for _, turn := range []*turn{first, second} {
				if err := turn.finish(true); err != nil {
					t.Error(err)
				}
			}
			b.must(b.move("pool", "project", 1))
			b.guessed(&r, "accepted", 1, store.ErrAgain)
			if got := b.of("project"); got != 17 {
				t.Errorf("the project has %d, want 17", got)
			}
			b.sound()
		})
	}
}
