package store

import (
	"github.com/partnerkit/partnerkit/internal/fail"
	"gorm.io/gorm"
)

// Scope says whose rows a statement may touch. The zero Scope is refused before any SQL runs, so forgetting one is an error and
// never a leak. It is made by package partner's policy, from who acts.
type Scope struct {
	kind   scopeKind
	value  string
	within []string // of rows that are of an account, these alone; nil for all
}

type scopeKind int

const (
	scopeNone scopeKind = iota
	scopeEverything
	scopePartner
	scopeTree
	scopeAccount
	scopeCustomer
)

// Everything is the scope of the vendor and of the engines; why names the reason in the code that asks for it.
func Everything(why string) Scope { return Scope{kind: scopeEverything, value: why} }

// OfPartner is the rows of one partner.
func OfPartner(id string) Scope { return Scope{kind: scopePartner, value: id} }

// OfAccounts is the rows of one partner, of those that belong to accounts only these accounts'.
func OfAccounts(partner string, accounts []string) Scope {
	if accounts == nil {
		accounts = []string{}
	}
	return Scope{scopePartner, partner, accounts}
}

// OfTree is the rows of the partner at path and of all below it.
func OfTree(path string) Scope { return Scope{kind: scopeTree, value: path} }

// OfAccount is the rows of one account.
func OfAccount(id string) Scope { return Scope{kind: scopeAccount, value: id} }

// OfCustomer is the rows of one customer, whosesoever partners' they are.
func OfCustomer(id string) Scope { return Scope{kind: scopeCustomer, value: id} }

var (
	errNoScope = fail.New(fail.Forbidden, "store: statement without a scope")
	errNoTable = fail.New(fail.Forbidden, "store: table has no owner for this scope")
)

// PathEnd is the exclusive upper bound of the paths below path: '0' is the byte after '/'. A range, not LIKE, so that '_' and
// '%' mean themselves and the index is used whatever the collation.
func PathEnd(path string) string { return path[:len(path)-1] + "0" }

// limit adds the predicate of s for table to q; what it cannot express it refuses.
func (s Scope) limit(q *gorm.DB, table string) *gorm.DB {
	t, known := catalogue[table]
	switch {
	case s.kind == scopeNone:
		return refuse(q, errNoScope)
	case !known:
		return refuse(q, errNoTable)
	case s.kind == scopeEverything:
		return q
	case s.kind == scopePartner && t.Partner != "" && s.value != "" && s.within != nil && t.Account != "":
		return q.Where(table+"."+t.Partner+" = ? AND "+table+"."+t.Account+" IN ?", s.value, s.within)
	case s.kind == scopePartner && t.Partner != "" && s.value != "":
		return q.Where(table+"."+t.Partner+" = ?", s.value)
	case s.kind == scopeAccount && t.Account != "" && s.value != "":
		return q.Where(table+"."+t.Account+" = ?", s.value)
	case s.kind == scopeCustomer && t.Customer != "" && s.value != "":
		return q.Where(table+"."+t.Customer+" = ?", s.value)
	case s.kind == scopeTree && t.Name == partnersTable && s.value != "":
		return q.Where(table+".path >= ? AND "+table+".path < ?", s.value, PathEnd(s.value))
	case s.kind == scopeTree && t.Partner != "" && s.value != "":
		return q.Where(table+"."+t.Partner+" IN (SELECT id FROM "+partnersTable+" WHERE path >= ? AND path < ?)", s.value, PathEnd(s.value))
	}
	return refuse(q, errNoTable)
}

// refuse makes every later method of q do nothing.
func refuse(q *gorm.DB, err error) *gorm.DB {
	_ = q.AddError(err)
	return q
}
