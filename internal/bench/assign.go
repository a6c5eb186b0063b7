package main

import (
	"context"
	"encoding/hex"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
)

// poolStock is what the vendor grants to each pool: more than any run moves.
const poolStock = 1_000_000_000_000

// assignWorld is partners with licences: in their pools, and in each of their projects.
type assignWorld struct {
	*sdk
	orgs     []org
	sessions []partner.Session
	start    int64 // transfers of its making
}

// newAssignWorld makes partners and projects, and logs each partner's admin in so many times.
func newAssignWorld(ctx context.Context, h *host, callers, partners, projects, sessions int) (w *assignWorld, err error) {
	w = &assignWorld{}
	if w.sdk, err = openSDK(ctx, h, callers); err != nil {
		return nil, err
	}
	if w.orgs, err = populate(ctx, w.sdk, roots(partners), projects); err != nil {
		return w, err
	}
	if err := w.seats.Define(w.vendor, license.Type{SKU: sku, Name: "Seat"}); err != nil {
		return w, err
	}
	var names []string
	for _, o := range w.orgs {
		names = append(names, o.login)
		if _, err := w.seats.Grant(w.vendor, o.id, sku, poolStock); err != nil {
			return w, err
		}
	}
	if err := stock(ctx, w.sdk); err != nil {
		return w, err
	}
	if w.sessions, err = w.logins(ctx, names, sessions); err != nil {
		return w, err
	}
	w.start, err = w.transfers()
	return w, err
}

// acquaint moves one unit to each project and by each session, so that the figures are of a service that has been up for a while: it has seen
// the rows that its decisions rest on.
func (w *assignWorld) acquaint(ctx context.Context) error {
	each := len(w.sessions) / len(w.orgs)
	err := atOnce(len(w.orgs)*len(w.orgs[0].projects), func(i int) error {
		o, n := i/len(w.orgs[0].projects), i%len(w.orgs[0].projects)
		by := n % each
		if by == n { // it may work there
			by = (n + 1) % each
		}
		return w.assign(ctx, w.sessions[o*each+by], w.orgs[o].projects[n])
	})
	if err == nil {
		w.start, err = w.transfers()
	}
	return err
}

// assign moves one unit from where session works to a project, under a fresh key.
func (w *assignWorld) assign(ctx context.Context, session partner.Session, to partner.AccountID) error {
	key := newKey()
	_, err := w.seats.Assign(partner.WithSession(ctx, session), to, sku, 1, license.Key(hex.EncodeToString(key[:])))
	return err
}

// ours is the target of that call.
func (w *assignWorld) ours(call func(ctx context.Context, caller int) error) target {
	return target{ours: true, call: call, books: w.books(w.start), close: w.close}
}

// transferFloors are those of the database.
func transferFloors(ctx context.Context, h *host, callers int, ends ends) ([]target, error) {
	if h.kind == dbtest.Postgres {
		return postgresFloors(ctx, h, callers, ends)
	}
	return sqliteFloors(ctx, h, callers, ends)
}

// floorOf is the plain transaction of the database.
func floorOf(s settings) string {
	if s.kind == dbtest.Postgres {
		return "pgx-tx"
	}
	return "sqlite-tx"
}

const includes = `ours is seats.Assign of one unit with a key: session and access decision held against blocks, both running balances, history
with unique key, audit row, one commit; each project and session has been seen before. `

const leavesOut = ` moves one unit between two balances and inserts a history row with a unique key, one commit; nothing else.`

func assignHot(s settings) measure {
	m := measure{name: "assign/hot", floor: floorOf(s), callers: []int{1, 16, 64, 512},
		includes: "one partner's pool to one of its 1,000 projects; a log-in session for each caller, 64 at most.\n" + includes + floorOf(s) + leavesOut,
		aim:      "64 callers 15x with p99 a tenth, 512 callers 30x, one caller 0.9x",
	}
	if s.kind == dbtest.SQLite {
		m.aim = "64 callers 5x"
	}
	if s.quick {
		m.callers = []int{1, 64}
	}
	m.open = func(ctx context.Context, h *host, callers int) ([]target, error) {
		list, err := transferFloors(ctx, h, callers, hot)
		if err != nil {
			return list, err
		}
		w, err := newAssignWorld(ctx, h, callers, 1, h.sizes.projects, min(callers, 64))
		if err == nil {
			err = w.acquaint(ctx)
		}
		if err != nil {
			return list, err
		}
		chance, projects := dice(callers), w.orgs[0].projects
		return append(list, w.ours(func(ctx context.Context, caller int) error {
			return w.assign(ctx, w.sessions[caller%len(w.sessions)], projects[chance[caller].IntN(len(projects))])
		})), nil
	}
	return m
}

func assignSpread(s settings) measure {
	m := measure{name: "assign/spread", floor: floorOf(s), callers: []int{1, 64},
		includes: "between projects of 200 partners with 50 each, 10,000 in all; sessions have switched into the projects that give (2,000 of them,\n" +
			"quick 400), the partner's 49 others receive. " + includes + floorOf(s) + leavesOut + " Its two are any of 10,000.",
		aim: "64 callers 2.5x",
	}
	if s.kind == dbtest.SQLite {
		m.aim = "none"
	}
	if s.quick {
		m.callers = []int{64}
	}
	m.open = func(ctx context.Context, h *host, callers int) ([]target, error) {
		list, err := transferFloors(ctx, h, callers, spread)
		if err != nil {
			return list, err
		}
		each := h.sizes.sessions
		w, err := newAssignWorld(ctx, h, callers, h.sizes.spreadPartners, h.sizes.spreadProjects, each)
		if err != nil {
			return list, err
		}
		err = atOnce(len(w.sessions), func(i int) error { // session j of a partner works in its project j
			return w.reg.Access.SwitchTo(partner.WithSession(ctx, w.sessions[i]), w.orgs[i/each].projects[i%each])
		})
		if err == nil {
			err = w.acquaint(ctx)
		}
		chance := dice(callers)
		return append(list, w.ours(func(ctx context.Context, caller int) error {
			i := chance[caller].IntN(len(w.sessions))
			projects := w.orgs[i/each].projects
			to := chance[caller].IntN(len(projects) - 1)
			if to >= i%each {
				to++
			}
			return w.assign(ctx, w.sessions[i], projects[to])
		})), err
	}
	return m
}
