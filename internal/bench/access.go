package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// tree is a big world of partners below each other.
type tree struct {
	*sdk
	orgs  []org
	asked []question // by familiar
}

// tree returns the world of so many partners, which measures share: none writes to it.
func (h *host) tree(ctx context.Context, n int) (*tree, error) {
	if t := h.trees[n]; t != nil {
		return t, nil
	}
	k, err := openSDK(ctx, h, 64)
	if err != nil {
		return nil, err
	}
	t := &tree{sdk: k}
	projects := 0
	if n == h.sizes.access {
		projects = 1
	}
	if t.orgs, err = populate(ctx, k, treeOf(n), projects); err != nil {
		return nil, err
	}
	h.trees[n] = t
	return t, nil
}

// question is whether the admin of one partner may act on the project of another.
type question struct {
	asker, about int // places in the tree
	session      partner.Session
	answer       bool
}

// questions are about projects at the deepest level; half come from the admin of the project's own partner or one above it, half from
// anybody's.
func (t *tree) questions(ctx context.Context, n int) ([]question, error) {
	chance := dice(1)[0]
	deep := 0
	for t.orgs[deep].depth < t.orgs[len(t.orgs)-1].depth {
		deep++
	}
	list := make([]question, n)
	askers := map[int]int{} // places of their names
	var names []string
	for i := range list {
		q := question{about: deep + chance.IntN(len(t.orgs)-deep)}
		q.asker = chance.IntN(len(t.orgs))
		if i%2 == 0 {
			q.asker = q.about
			for range chance.IntN(t.orgs[q.about].depth) {
				q.asker = t.orgs[q.asker].parent
			}
		}
		q.answer = strings.HasPrefix(t.orgs[q.about].path, t.orgs[q.asker].path)
		if _, known := askers[q.asker]; !known {
			askers[q.asker] = len(names)
			names = append(names, t.orgs[q.asker].login)
		}
		list[i] = q
	}
	sessions, err := t.logins(ctx, names, 1)
	for i := range list {
		list[i].session = sessions[askers[list[i].asker]]
	}
	return list, err
}

// mayAct asks as a host does.
func (t *tree) mayAct(ctx context.Context, q question) (bool, error) {
	d, err := t.reg.Access.Explain(partner.WithSession(ctx, q.session), "account.read", t.orgs[q.about].projects[0].String())
	return d.Allowed, err
}

var errWrongAnswer = errors.New("wrong answer")

// asking makes a call of each next question, from a place of chance on, and holds the answer to what the tree says.
func asking(callers int, list []question, ask func(context.Context, question) (bool, error)) func(context.Context, int) error {
	chance := dice(callers)
	return func(ctx context.Context, caller int) error {
		q := list[chance[caller].IntN(len(list))]
		allowed, err := ask(ctx, q)
		if err == nil && allowed != q.answer {
			err = fmt.Errorf("%w: partner %d about project %d", errWrongAnswer, q.asker, q.about)
		}
		return err
	}
}

func access(s settings) measure {
	m := measure{name: "access/inside", callers: []int{1, 16}, times: true, aim: "1.5x",
		includes: fmt.Sprintf("may this user act on this project, %d partners in 8 levels below one root. Ours is Access.Explain: session, epochs, blocks\n"+
			"above, the tree, the role, the states of partner and project, with the reasons.", s.sizes.access),
	}
	if s.kind == dbtest.Postgres {
		m.floor = "path"
		m.includes += " The floor is one statement: project with a path array, member."
	} else {
		m.floor = "closure"
		m.includes += " The floor is one statement: project, closure table, member."
	}
	if s.quick {
		m.callers = []int{1}
	}
	m.open = func(ctx context.Context, h *host, callers int) ([]target, error) {
		t, list, err := h.asked(ctx, callers)
		if err != nil {
			return nil, err
		}
		floor, err := accessFloor(ctx, h, callers, t.orgs)
		if err != nil {
			return nil, err
		}
		floor.call = asking(callers, list, floor.ask)
		return []target{floor.target, {ours: true, call: asking(callers, list, t.mayAct)}}, nil
	}
	return m
}

// asked is the world of the access measures for so many callers, with its questions.
func (h *host) asked(ctx context.Context, callers int) (*tree, []question, error) {
	t, err := h.tree(ctx, h.sizes.access)
	if err != nil {
		return nil, nil, err
	}
	if err := t.pool(callers); err != nil {
		return nil, nil, err
	}
	list, err := t.familiar(ctx, h.sizes.questions)
	return t, list, err
}

// familiar are questions that have been asked twice, a second apart, so that the figures are of a service that has been up for a while: it
// has seen the rows that its decisions rest on.
func (t *tree) familiar(ctx context.Context, n int) ([]question, error) {
	if t.asked != nil {
		return t.asked, nil
	}
	list, err := t.questions(ctx, n)
	for range 2 {
		if err == nil {
			<-time.After(1100 * time.Millisecond)
			err = atOnce(len(list), func(i int) error {
				_, err := t.mayAct(ctx, list[i])
				return err
			})
		}
	}
	if err == nil {
		t.asked = list
	}
	return list, err
}

// askable is a floor that answers questions.
type askable struct {
	target
	ask func(context.Context, question) (bool, error)
}

func accessFloor(ctx context.Context, h *host, callers int, orgs []org) (askable, error) {
	if h.kind == dbtest.Postgres {
		return pathFloor(ctx, h, callers, orgs)
	}
	return closureFloor(ctx, h, orgs)
}

const (
	pathTables = `create table member (usr int, org int, primary key (usr, org)); create table project (id int primary key, org int not null, path int[] not null);`
	pathAsk    = "select exists(select 1 from project p join member m on m.org = any(p.path) where p.id = $2 and m.usr = $1)"

	closureTables = `create table member (usr int, org int, primary key (usr, org)) without rowid; create table project (id integer primary key, org int not null);
		create table closure (org int, anc int, primary key (org, anc)) without rowid;`
	closureAsk = "select exists(select 1 from project p join closure c on c.org = p.org join member m on m.org = c.anc where p.id = ? and m.usr = ?)"
)

// lineage is a partner's place and those above it.
func lineage(orgs []org, i int) []int32 {
	var list []int32
	for ; i >= 0; i = orgs[i].parent {
		list = append(list, int32(i))
	}
	return list
}

// pathFloor is the statement by path array. The user, the project and the partner of one place have its number.
func pathFloor(ctx context.Context, h *host, callers int, orgs []org) (askable, error) {
	f, err := openPostgresFloor(ctx, h, callers, pathTables)
	if err != nil {
		return askable{}, err
	}
	members, projects := rows{table: "member", columns: "usr org"}, rows{table: "project", columns: "id org path"}
	for i := range orgs {
		members.add(i, i)
		projects.add(i, i, lineage(orgs, i))
	}
	conn, err := f.Acquire(ctx)
	if err != nil {
		return askable{}, errors.Join(err, f.close())
	}
	err = bulk{postgres: conn.Conn()}.insert(ctx, []rows{members, projects})
	conn.Release()
	if err == nil {
		_, err = f.Exec(ctx, "vacuum analyze")
	}
	ask := func(ctx context.Context, q question) (allowed bool, err error) {
		err = f.QueryRow(ctx, pathAsk, q.asker, q.about).Scan(&allowed)
		return allowed, err
	}
	return askable{target{name: "path", close: f.close}, ask}, err
}

// closureFloor is the statement by closure table, prepared, with as many connections as read at once.
func closureFloor(ctx context.Context, h *host, orgs []org) (askable, error) {
	dsn, drop, err := h.fresh()
	if err != nil {
		return askable{}, err
	}
	db, err := sqlite(dsn)
	if err != nil {
		return askable{}, err
	}
	end := func() error { return errors.Join(db.Close(), drop()) }
	members, projects, closure := rows{table: "member", columns: "usr org"}, rows{table: "project", columns: "id org"}, rows{table: "closure", columns: "org anc"}
	for i := range orgs {
		members.add(i, i)
		projects.add(i, i)
		for _, above := range lineage(orgs, i) {
			closure.add(i, above)
		}
	}
	if _, err = db.ExecContext(ctx, closureTables); err == nil {
		err = bulk{sqlite: db}.insert(ctx, []rows{members, projects, closure})
	}
	if err != nil {
		return askable{}, errors.Join(err, end())
	}
	db.SetMaxOpenConns(sqliteReaders)
	db.SetMaxIdleConns(sqliteReaders)
	prepared, err := db.PrepareContext(ctx, closureAsk) //nolint:sqlclosecheck // it is used until the pool closes
	ask := func(ctx context.Context, q question) (allowed bool, err error) {
		err = prepared.QueryRowContext(ctx, q.about, q.asker).Scan(&allowed)
		return allowed, err
	}
	return askable{target{name: "closure", close: end}, ask}, err
}

// sqliteReaders are as many connections as the SDK's pool has on SQLite.
const sqliteReaders = 8
