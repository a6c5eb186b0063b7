package partner

import (
	"slices"
	"strings"
)

// Role is a user's place in an organisation.
type Role string

// Roles.
const (
	Admin  Role = "admin"  // everything of the organisation, but for the flags among the rights
	Member Role = "member" // of a partner: what its rights say

	// Of the vendor's own users, beside Admin.
	Reviewer Role = "reviewer" // reviews and publishes
	Finance  Role = "finance"  // money entries, prices, margins
	Support  Role = "support"  // looks at partners, projects, users and the audit; disables users and ends sessions
)

// Right is what a member needs for a kind of work. The last three are flags, which an admin needs as well: the vendor sets those.
type Right string

// Rights.
const (
	Projects            Right = "projects"  // open, edit and close projects
	Licenses            Right = "licenses"  // move licences, see the pool
	Solutions           Right = "solutions" // make and install solutions
	Orders              Right = "orders"    // place orders
	Margin              Right = "margin"    // see margin and commission
	ViewCustomers       Right = "view_customers"
	ViewInvoices        Right = "view_invoices"
	ManageSubscriptions Right = "manage_subscriptions"
)

// allRights is their order in rights; it is written to the database, so new ones come last.
var allRights = []Right{Projects, Licenses, Solutions, Orders, Margin, ViewCustomers, ViewInvoices, ManageSubscriptions}

// rights is a set of them.
type rights int64

// rightFlags are those that an admin does not have by being one.
var rightFlags = rightsOf(ViewCustomers, ViewInvoices, ManageSubscriptions)

func rightsOf(list ...Right) (r rights) {
	for _, one := range list {
		if i := slices.Index(allRights, one); i >= 0 {
			r |= 1 << i
		}
	}
	return r
}

func (r rights) has(one Right) bool { return one != "" && r&rightsOf(one) != 0 }

func (r rights) list() (list []Right) {
	for i, one := range allRights {
		if r&(1<<i) != 0 {
			list = append(list, one)
		}
	}
	return list
}

// Scope limits a member to some accounts. The zero Scope, nil Accounts, is all of the organisation; an empty list that is not nil is none: who
// takes the last account off a list does not thereby give all of them.
type Scope struct{ Accounts []AccountID }

// scopeText is a scope as it is kept: each id between two spaces; " " is nothing, "" everything.
func scopeText(s Scope) string {
	if s.Accounts == nil {
		return ""
	}
	list := slices.Clone(s.Accounts)
	slices.Sort(list)
	var b strings.Builder
	for _, id := range slices.Compact(list) {
		b.WriteString(" " + string(id))
	}
	return b.String() + " "
}

func scopeOf(text string) (s Scope) {
	if text != "" {
		s.Accounts = []AccountID{}
	}
	for _, id := range words(text) {
		s.Accounts = append(s.Accounts, AccountID(id))
	}
	return s
}

// within tells whether a user may have to do with an account.
func (u userFacts) within(account string) bool {
	return u.Scope == "" || strings.Contains(u.Scope, " "+account+" ")
}
