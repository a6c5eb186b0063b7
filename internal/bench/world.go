package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/internal/store"
	"github.com/partnerkit/partnerkit/partner"
)

// Big worlds are written in bulk, because the API would take minutes: the rows that Partners.Create, Accounts.OpenProject and
// Ledger.Assign make, all but their events and idempotency keys, which nothing measured here reads.

// org is a partner of a bulk world.
type org struct {
	id       partner.ID
	login    string // of its admin
	path     string
	depth    int
	parent   int // its place in the list; -1 for a root
	created  store.Micros
	projects []partner.AccountID
}

// treeLevels are the levels of a tree of 100,000.
var treeLevels = []int{1, 4, 18, 73, 292, 1171, 4687, 18750, 75004}

// treeOf returns the parents of n partners in a tree shaped like treeLevels, by level.
func treeOf(n int) []int {
	parents := []int{-1}
	above := 0 // where the level above begins
	for level := 1; level < len(treeLevels) && len(parents) < n; level++ {
		begin := len(parents)
		size := max(1, treeLevels[level]*n/100_000)
		if level == len(treeLevels)-1 {
			size = n - begin
		}
		for i := 0; i < size && len(parents) < n; i++ {
			parents = append(parents, above+i*(begin-above)/size)
		}
		above = begin
	}
	return parents
}

// roots are n partners beside each other.
func roots(n int) []int {
	parents := make([]int, n)
	for i := range parents {
		parents[i] = -1
	}
	return parents
}

// populate writes partners below those parents, each with so many projects.
func populate(ctx context.Context, k *sdk, parents []int, projects int) (orgs []org, err error) {
	writers := make(chan bulk, loaders)
	for range cap(writers) {
		b, err := openBulk(ctx, k.kind, k.dsn)
		if err != nil {
			return nil, err
		}
		writers <- b
		defer func() { err = errors.Join(err, b.close(ctx)) }()
	}
	orgs = make([]org, len(parents))
	begin := store.At(time.Now().Add(-time.Duration(len(parents)) * time.Millisecond))
	for from := 0; from < len(parents); {
		var chunks []*chunk
		to := from
		for ; to < min(from+loaders*chunkSize, len(parents)) && parents[to] < from; to++ { // whose parents are there already
			if (to-from)%chunkSize == 0 {
				chunks = append(chunks, newChunk())
			}
			orgs[to] = org{login: fmt.Sprintf("org-%d", to), parent: parents[to]}
			chunks[len(chunks)-1].org(orgs, to, projects, begin.Add(time.Duration(to)*time.Millisecond))
		}
		err := atOnce(len(chunks), func(i int) error {
			b := <-writers
			defer func() { writers <- b }()
			return b.insert(ctx, chunks[i].tables())
		})
		if err != nil {
			return nil, err
		}
		from = to
	}
	b := <-writers
	defer func() { writers <- b }()
	return orgs, b.finish(ctx, len(orgs))
}

const (
	loaders   = 2     // at once; on SQLite they take turns
	chunkSize = 2_500 // partners a transaction
)

// rows are what goes into one table.
type rows struct {
	table, columns string
	values         [][]any
}

func (r *rows) add(values ...any) { r.values = append(r.values, values) }

// chunk are the rows of one transaction.
type chunk struct{ identities, partners, users, contracts, balances, accounts rows }

func newChunk() *chunk {
	return &chunk{
		identities: rows{table: "prm_identities", columns: "id kind login login_key email email_key email_verified password_hash epoch version created_at"},
		partners: rows{table: "prm_partners", columns: `id parent_id path depth state version created_at name name_key email phone locale currency
			more_currencies resell build operate manages_sub_partners own_blocks own_cascade own_inherited own_epoch users_blocks users_cascade
			users_inherited users_epoch contact_id`},
		users:     rows{table: "prm_users", columns: "id identity_id partner_id name role disabled version created_at"},
		contracts: rows{table: "prm_contracts", columns: "id partner_id number currency billing_model blocking_limit from_at until_at version created_at"},
		balances:  rows{table: "prm_ledger_balances", columns: "book owner unit state lot partner_id amount bounded recorded"},
		accounts: rows{table: "prm_accounts", columns: `id partner_id owner_id type identity_id name name_key state blocks epoch region email company country
			phone locale version created_at`},
	}
}

// tables are in the order in which rows may refer to others.
func (c *chunk) tables() []rows {
	return []rows{c.identities, c.partners, c.users, c.contracts, c.balances, c.accounts}
}

func random(b []byte) {
	for len(b) > 0 {
		key := newKey()
		b = b[copy(b, key[:]):]
	}
}

// org adds the partner at place i, with its projects.
func (c *chunk) org(orgs []org, i, projects int, at store.Micros) {
	o := &orgs[i]
	var parent any
	o.path, o.created = "/", at
	if o.parent >= 0 {
		above := orgs[o.parent]
		parent, o.path, o.depth = above.id.String(), above.path, above.depth
	}
	o.path += strconv.FormatInt(int64(i)+1, 36) + "/"
	o.depth++
	owner := c.partner(o, parent, at)
	for j := range projects {
		c.project(o, owner, fmt.Sprintf("project-%d-%d", i, j), at)
	}
}

// partner adds an active partner with all capabilities, which manages those below it, its admin, who is returned, and its partner-wide contract.
func (c *chunk) partner(o *org, parent any, at store.Micros) (admin string) {
	id, identity, user, contract := store.NewID("prt", at, random), store.NewID("idn", at, random), store.NewID("usr", at, random), store.NewID("ctr", at, random)
	o.id = partner.ID(id)
	name, email := "Partner "+o.login, o.login+"@partner.example"
	c.identities.add(identity, "human", o.login, o.login, email, email, false, hashOf([]byte(password)), 0, 1, int64(at))
	c.partners.add(id, parent, o.path, o.depth, "active", 1, int64(at), name, strings.ToLower(name), email, "", "", "EUR",
		"", true, true, true, true, 0, false, 0, 0, 0, false, 0, 0, user)
	c.users.add(user, identity, id, name, "admin", false, 1, int64(at))
	c.contracts.add(contract, id, contract, "EUR", "postpayment", 0, int64(at), 0, 1, int64(at))
	c.balances.add("money", contract, "EUR", "held", 0, id, 0, false, 0)
	return user
}

// project adds an active project of that owner with its delegated log-in, which has no password yet.
func (c *chunk) project(o *org, owner, login string, at store.Micros) {
	id, identity := store.NewID("acc", at, random), store.NewID("idn", at, random)
	o.projects = append(o.projects, partner.AccountID(id))
	c.identities.add(identity, "project", login, login, "", "", false, "", 0, 1, int64(at))
	c.accounts.add(id, o.id.String(), owner, "project", identity, login, login, "active", 0, 0, "DE", login+"@customer.example", "Globex", "DE",
		"", "", 1, int64(at))
}

// bulk writes rows natively, past the SDK.
type bulk struct {
	postgres *pgx.Conn
	sqlite   *sql.DB
}

func openBulk(ctx context.Context, kind, dsn string) (b bulk, err error) {
	if kind == dbtest.Postgres {
		if b.postgres, err = pgx.Connect(ctx, dsn); err == nil {
			// Looking every reference up takes most of the time; SQLite does it for the same rows. Who may not leave it out does it here, too.
			_, _ = b.postgres.Exec(ctx, "SET session_replication_role = replica")
		}
		return b, err
	}
	b.sqlite, err = sqlite(dsn)
	return b, err
}

func (b bulk) close(ctx context.Context) error {
	if b.postgres != nil {
		return b.postgres.Close(ctx)
	}
	return b.sqlite.Close()
}

// insert writes rows in one transaction.
func (b bulk) insert(ctx context.Context, tables []rows) error {
	if b.postgres != nil {
		return pgx.BeginFunc(ctx, b.postgres, func(tx pgx.Tx) error {
			for _, t := range tables {
				if _, err := tx.CopyFrom(ctx, pgx.Identifier{t.table}, strings.Fields(t.columns), pgx.CopyFromRows(t.values)); err != nil {
					return fmt.Errorf("%s: %w", t.table, err)
				}
			}
			return nil
		})
	}
	tx, err := b.sqlite.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after the commit it does nothing
	for _, t := range tables {
		if err := insertAll(ctx, tx, t); err != nil {
			return fmt.Errorf("%s: %w", t.table, err)
		}
	}
	return tx.Commit()
}

func insertAll(ctx context.Context, tx *sql.Tx, t rows) error {
	columns := strings.Fields(t.columns)
	places := strings.Repeat(", ?", len(columns))[2:]
	insert, err := tx.PrepareContext(ctx, "INSERT INTO "+t.table+" ("+strings.Join(columns, ", ")+") VALUES ("+places+")") //nolint:gosec // names from this file
	if err != nil {
		return err
	}
	defer func() { _ = insert.Close() }()
	for _, v := range t.values {
		if _, err := insert.ExecContext(ctx, v...); err != nil {
			return err
		}
	}
	return nil
}

func (b bulk) exec(ctx context.Context, statement string, args ...any) error {
	var err error
	if b.postgres != nil {
		_, err = b.postgres.Exec(ctx, statement, args...)
	} else {
		_, err = b.sqlite.ExecContext(ctx, statement, args...)
	}
	return err
}

// finish makes the next partner's node number follow.
func (b bulk) finish(ctx context.Context, partners int) error {
	if b.postgres != nil {
		return errors.Join(b.exec(ctx, "SELECT setval('prm_nodes', $1)", partners), b.tidy(ctx))
	}
	return b.exec(ctx, "UPDATE prm_nodes SET last = ?", partners)
}

// tidy gathers on PostgreSQL the statistics that it would gather by itself within a minute. SQLite gathers none by itself, so it has none
// here.
func (b bulk) tidy(ctx context.Context) error {
	if b.postgres == nil {
		return nil
	}
	return b.exec(ctx, "VACUUM ANALYZE")
}

// What Ledger.Assign would write when each project gets 1,000,000 from its partner's pool, one after the other.
const (
	stockBalances = `INSERT INTO prm_ledger_balances (book, owner, unit, state, lot, partner_id, amount, bounded, recorded)
		SELECT p.book, a.id, p.unit, p.state, 0, a.partner_id, 1000000, TRUE, p.recorded + row_number() OVER (PARTITION BY a.partner_id ORDER BY a.id)
		FROM prm_accounts a JOIN prm_ledger_balances p ON p.owner = a.partner_id AND p.book = 'license'`
	stockTransfers = `INSERT INTO prm_ledger_transfers (book, unit, verb, quantity, from_id, to_id, from_after, to_after, partner_id, actor, reason, key,
		hash, effective, recorded) SELECT p.book, p.unit, 'assign', 1000000, p.id, b.id, p.amount - 1000000 * (b.recorded - p.recorded), 1000000,
		p.owner, o.contact_id, '', 'stock/' || b.owner, '', b.recorded, b.recorded
		FROM prm_ledger_balances b JOIN prm_ledger_balances p ON p.owner = b.partner_id AND p.book = b.book
		JOIN prm_partners o ON o.id = p.owner WHERE b.book = 'license' AND b.owner IN (SELECT id FROM prm_accounts)`
	stockPools = `UPDATE prm_ledger_balances SET amount = amount - 1000000 * (SELECT count(*) FROM prm_accounts a WHERE a.partner_id = owner),
		recorded = recorded + (SELECT count(*) FROM prm_accounts a WHERE a.partner_id = owner)
		WHERE book = 'license' AND owner IN (SELECT partner_id FROM prm_accounts)`
)

// stock fills all projects from their partners' pools.
func stock(ctx context.Context, k *sdk) (err error) {
	b, err := openBulk(ctx, k.kind, k.dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(ctx)) }()
	for _, statement := range []string{stockBalances, stockTransfers, stockPools} {
		if err := errors.Join(b.exec(ctx, statement), b.tidy(ctx)); err != nil {
			return err
		}
	}
	return nil
}
