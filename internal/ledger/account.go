package ledger

import (
	"cmp"
	"slices"

	"github.com/partnerkit/partnerkit/internal/store"
)

// name is an account: what an owner has of one unit.
type name struct{ owner, unit string }

// account is an account in memory, held by the lock on its head.
type account struct {
	name
	head  *balance
	rows  []*balance // the head first; all there are if whole
	whole bool
}

// slot is a row's place in its account.
type slot struct {
	state State
	lot   int64
}

func (a *account) row(s slot) *balance {
	for _, r := range a.rows {
		if r.State == s.state && r.Lot == s.lot {
			return r
		}
	}
	return nil
}

// total is what the account has in a state.
func (a *account) total(s State) (n int64) {
	for _, r := range a.rows {
		if r.State == s {
			n += r.Amount
		}
	}
	return n
}

// usable is what is held and valid at now; early counts what is not valid yet as well.
func (a *account) usable(now store.Micros, early bool) (n int64) {
	for _, r := range a.rows {
		if r.State == Held && r.usable(now, early) {
			n += r.Amount
		}
	}
	return n
}

// inUse is what a cap counts: all the account has, used up or not; what has run out is nobody's.
func (a *account) inUse() int64 { return a.total(Held) + a.total(Reserved) + a.total(Consumed) }

func (b *balance) usable(now store.Micros, early bool) bool {
	return (early || b.ValidFrom <= now) && (b.ValidUntil == 0 || b.ValidUntil > now)
}

// taken is what a posting takes from one row.
type taken struct {
	row *balance
	n   int64
}

// take chooses the rows that a posting's units come from: the lots that run out first, the undated last.
func (a *account) take(p *Posting, now store.Micros) ([]taken, error) {
	if len(p.Lots) > 0 {
		return a.exactly(p)
	}
	if a.head.unboundedIn(p.From.State) || len(a.rows) == 1 && p.From.State == Held {
		if a.head.Bounded && a.head.Amount < p.Quantity {
			return nil, a.short(p.Quantity, a.head.Amount)
		}
		return []taken{{a.head, p.Quantity}}, nil
	}
	rows := slices.Clone(a.rows)
	slices.SortFunc(rows, sooner)
	var list []taken
	left := p.Quantity
	for _, r := range rows {
		if r.State == p.From.State && r.usable(now, p.Early) && r.Amount > 0 && left > 0 {
			n := min(left, r.Amount)
			list = append(list, taken{r, n})
			left -= n
		}
	}
	if left > 0 {
		return nil, a.short(p.Quantity, p.Quantity-left)
	}
	return list, nil
}

func (b *balance) unboundedIn(s State) bool { return !b.Bounded && s == Held }

func (a *account) short(want, have int64) error {
	return &Short{Available: have, Lapsed: have+a.total(Expired) >= want}
}

func (a *account) exactly(p *Posting) ([]taken, error) {
	var list []taken
	for _, s := range p.Lots {
		from := slot{p.From.State, s.Lot}
		if a.owner == Issuer {
			from.lot = 0
		}
		r := a.row(from)
		if r == nil || r.Amount < s.Quantity && !a.head.unboundedIn(p.From.State) {
			have := int64(0)
			if r != nil {
				have = r.Amount
			}
			return nil, &Short{Available: have}
		}
		list = append(list, taken{r, s.Quantity})
	}
	return list, nil
}

// sooner orders rows as their units are used: what runs out first goes first, what never does last.
func sooner(a, b *balance) int {
	open := func(r *balance) int {
		if r.ValidUntil == 0 {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(open(a), open(b)), cmp.Compare(a.ValidUntil, b.ValidUntil), cmp.Compare(dated(a), dated(b)), cmp.Compare(a.Lot, b.Lot))
}

// dated puts lots without an end before the undated one.
func dated(b *balance) int {
	if b.Lot == 0 {
		return 1
	}
	return 0
}

// into finds or makes the row of the account that units of a lot arrive in.
func (a *account) into(book Book, s slot, from *balance, partner string, v Validity) *balance {
	if a.owner == Issuer {
		s.lot = 0
	}
	if r := a.row(s); r != nil {
		return r
	}
	r := &balance{Book: book, Owner: a.owner, Unit: a.unit, State: s.state, Lot: s.lot, PartnerID: &partner, Bounded: true, Terms: Terms{Cap: -1},
		ValidFrom: v.From, ValidUntil: v.Until}
	if from.Lot == s.lot {
		r.ValidFrom, r.ValidUntil = from.ValidFrom, from.ValidUntil
	}
	a.rows = append(a.rows, r)
	if s.state == Held && s.lot != 0 {
		a.head.Lots++
	}
	return r
}

// dueBy makes the account look at itself at a time, if not sooner.
func (a *account) dueBy(at store.Micros) {
	if at != 0 && (a.head.Due == 0 || at < a.head.Due) {
		a.head.Due = at
	}
}
