package partner

import (
	"cmp"
	"maps"
	"sync"

	"github.com/partnerkit/partnerkit/internal/store"
)

// picture is rows that decisions rest on.
type picture struct {
	sessions   map[string]*sessionRefs // by token
	identities map[string]*identityFacts
	users      map[string]*userFacts
	partners   map[string]*partnerFacts
	accounts   map[string]*accountFacts
}

func newPicture() picture {
	return picture{map[string]*sessionRefs{}, map[string]*identityFacts{}, map[string]*userFacts{}, map[string]*partnerFacts{}, map[string]*accountFacts{}}
}

// sessionRefs is a session with the rows that it leads to.
type sessionRefs struct {
	sessionFacts
	identity, user, partner, account, active string
}

// complete fills in f, which has its actor and target, as readFacts does. It tells whether all the rows that it leads to were there.
func (p *picture) complete(f *facts) bool {
	target, all := f.target, true
	if s := p.sessions[f.actor.token]; s != nil {
		f.Session = s.sessionFacts
		f.Identity = row(p.identities, s.identity, &all)
		f.User = row(p.users, s.user, &all)
		f.factRows.Partner = row(p.partners, s.partner, &all)
		f.Own = row(p.accounts, s.account, &all)
		f.Active = row(p.accounts, s.active, &all)
		f.Lender = row(p.partners, f.Active.PartnerID, &all)
		if f.active {
			target = s.active
		}
	} else {
		all = f.actor.token == ""
	}
	some := true
	f.Account = row(p.accounts, target, &some)
	f.Holder = row(p.partners, cmp.Or(f.Account.PartnerID, target), &all)
	f.delegate()
	return all
}

// row is a copy of a row, or an empty one; a row that is named and not there makes all false.
func row[T any](rows map[string]*T, id string, all *bool) (v T) {
	if r := rows[id]; r != nil {
		return *r
	}
	*all = *all && id == ""
	return v
}

// add takes the rows of f over from another picture.
func (p *picture) add(from *picture, f *facts) {
	if s := from.sessions[f.actor.token]; s != nil {
		p.sessions[f.actor.token] = s
		take(p.identities, from.identities, s.identity)
		take(p.users, from.users, s.user)
	}
	for _, id := range []string{f.factRows.Partner.ID, f.guest.partner.ID, f.Lender.ID, f.Holder.ID} {
		take(p.partners, from.partners, id)
	}
	for _, id := range []string{f.Own.ID, f.Active.ID, f.Account.ID} {
		take(p.accounts, from.accounts, id)
	}
}

func take[T any](into, from map[string]*T, id string) {
	if r := from[id]; r != nil {
		into[id] = r
	}
}

func (p *picture) size() int {
	return len(p.sessions) + len(p.identities) + len(p.users) + len(p.partners) + len(p.accounts)
}

// stamp is the number that every change of a fact raises, before it commits and behind its gate, with the start of the server, which could
// give out numbers again that a crash has undone. A row that was read behind its gate at one number is still the same at that number.
type stamp struct{ server, number int64 }

// readStamp reads it together with the next statement. It must come after the gates: their statement's own snapshot may be older.
func (s *stamp) read(tx *store.Tx) error {
	query := "SELECT 0, number FROM prm_facts"
	if tx.Postgres() {
		query = "SELECT CAST(1000000 * extract(epoch FROM pg_postmaster_start_time()) AS BIGINT), last_value + CAST(is_called AS INTEGER) FROM prm_facts"
	}
	return tx.Later(deciding, func(r store.Row) error { return r.Scan(&s.server, &s.number) }, query)
}

// known remembers rows between calls. What it says holds for a call that finds, behind the gates of what it was told, the same number.
type known struct {
	mu sync.RWMutex
	at stamp
	picture

	last  stamp // the number that was met last,
	since store.Micros
	asked []Ask // by readers, about what is not known
}

// maxKnown bounds how many rows are remembered; some 200 bytes each, but for users who are limited to many accounts.
const maxKnown = 1 << 17

// recall fills in facts from memory, and tells which are complete, and what number they hold at. A session that has not been used for
// long is read again: its last use may have been written down by another process.
func (k *known) recall(list []facts) (stamp, []bool) {
	found := make([]bool, len(list))
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.sessions == nil {
		return k.at, found
	}
	for i := range list {
		f := &list[i]
		found[i] = k.complete(f) && !f.stale()
	}
	return k.at, found
}

// about fills in what f is about, if memory has that as it was at a number or later.
func (k *known) about(at stamp, f *facts) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.sessions == nil || k.at.server != at.server || k.at.number < at.number {
		return false
	}
	if f.active {
		f.Account = f.Active
	} else if a := k.accounts[f.target]; a != nil {
		f.Account = *a
	}
	all := true
	f.Holder = row(k.partners, cmp.Or(f.Account.PartnerID, f.target), &all)
	return all
}

// learn remembers rows that were read at a number, behind their gates, in a transaction whose commit is durable: no crash can give that
// number out again.
func (k *known) learn(at stamp, rows *picture) {
	if rows.size() == 0 {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if at.server == k.at.server && at.number < k.at.number {
		return
	}
	if at != k.at || k.sessions == nil || k.size() > maxKnown {
		k.at, k.picture = at, newPicture()
	}
	maps.Copy(k.sessions, rows.sessions)
	maps.Copy(k.identities, rows.identities)
	maps.Copy(k.users, rows.users)
	maps.Copy(k.partners, rows.partners)
	maps.Copy(k.accounts, rows.accounts)
}

// met notes a number that a call has met, and forgets everything if it cannot come after the one remembered. It tells whether the number has
// been the same for a while: while it changes, learning for readers is not worth its transaction.
func (k *known) met(at stamp, now store.Micros) (still bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.at != at && (k.at.server != at.server || at.number < k.at.number) {
		k.at, k.picture = stamp{}, picture{}
	}
	if k.last != at {
		k.last, k.since = at, now
	}
	return now-k.since >= worthLearning
}

// strange notes a reader's call that memory could not answer, and returns all that were noted when there are enough of them.
func (k *known) strange(ask Ask) []Ask {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, ask)
	if len(k.asked) < enoughToLearn {
		return nil
	}
	list := k.asked
	k.asked = nil
	return list
}

// enoughToLearn is how many readers' calls are learned from together.
const enoughToLearn = 64

// worthLearning is how long the number must have been the same before readers learn.
const worthLearning = 1_000_000
