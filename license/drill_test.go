package license_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// times is how often a failure is made to happen: the number that the variable of the long form gives, else short.
func times(t *testing.T, variable string, short int) int {
	t.Helper()
	if n, err := strconv.Atoi(os.Getenv(variable)); err == nil {
		return n
	}
	if testing.Short() {
		return min(short, 5)
	}
	return short
}

// drill is a partner at work on a database that fails, and what its callers have been told.
type drill struct {
	places
	t      *testing.T
	db     *gorm.DB
	reg    *partner.Registry
	vendor context.Context

	mu      sync.Mutex
	acked   map[string]bool
	waiting map[string]bool // keys without an answer yet
	last    time.Time       // of an answer
	gap     time.Duration   // the longest without one
	repeats int
	refused int
}

func newDrill(t *testing.T, db *gorm.DB) *drill {
	t.Helper()
	d := &drill{t: t, db: db, vendor: partner.AsVendor(context.Background(), "ops@vendor.example"), acked: map[string]bool{}, waiting: map[string]bool{}}
	d.must(partner.Migrate(context.Background(), db))
	reg, err := partner.Open(context.Background(), db, drillOptions())
	d.must(err)
	d.reg = reg
	p, err := reg.Partners.Create(d.vendor, partner.Agreement{Name: "Drill", Login: drillLogin, Email: "drill@partner.example", Password: drillPassword,
		Currency: "EUR"})
	d.must(err)
	s, err := reg.Access.Login(context.Background(), drillLogin, drillPassword, "")
	d.must(err)
	for i := range drillPlaces - 1 {
		name := "drill-project-" + strconv.Itoa(i)
		_, err := reg.Accounts.OpenProject(partner.WithSession(context.Background(), s), partner.NewProject{Name: name, Email: name + "@customer.example",
			Company: "Globex", Country: "DE", Login: name, Password: drillPassword})
		d.must(err)
	}
	d.places, err = enterPlaces(reg)
	d.must(err)
	d.must(d.seats.Define(d.vendor, license.Type{SKU: drillSKU, Name: "Seat"}))
	_, err = d.seats.Grant(d.vendor, p.ID, drillSKU, drillStock, license.Key("stock"))
	d.must(err)
	for i, project := range d.projects {
		_, err := d.seats.Assign(d.sessions[0], project.ID, drillSKU, drillStock/10, license.Key("stock "+strconv.Itoa(i)))
		d.must(err)
	}
	return d
}

func (d *drill) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// another is whether a drill of so many cycles has the given one, counted from 1: some more are had while no call has met what happens in
// them.
func (d *drill) another(cycle, cycles int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return !d.t.Failed() && (cycle <= cycles || d.repeats == 0 && cycle <= cycles+10)
}

// work lets callers work at once until end is called, which returns when the last deed of each has its answer: what it is not answered it
// repeats, with the same key. The keys begin with name.
func (d *drill) work(callers int, name string) (end func()) {
	var all sync.WaitGroup
	stop := make(chan struct{})
	end = sync.OnceFunc(func() {
		close(stop)
		all.Wait()
	})
	d.t.Cleanup(end)
	d.last = time.Now()
	for i := range callers {
		c := &caller{place: i % drillPlaces, name: fmt.Sprint(name, ".", i)}
		all.Go(func() {
			for open(stop) && !d.t.Failed() {
				d.see(c)
			}
		})
	}
	return end
}

func open(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return false
	default:
		return true
	}
}

// see sees one deed through.
func (d *drill) see(c *caller) {
	deed := c.next()
	d.mu.Lock()
	d.waiting[deed.key] = true
	d.mu.Unlock()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for begun := time.Now(); !d.t.Failed(); <-tick.C {
		id, err := d.do(deed)
		switch {
		case err == nil:
			c.learn(deed, id)
			d.answered(deed)
		case errors.Is(err, partner.ErrUnavailable) && time.Since(begun) < time.Minute:
			d.mu.Lock()
			d.repeats++
			d.mu.Unlock()
			continue
		case c.fair(deed, err):
			d.mu.Lock()
			d.refused++
			delete(d.waiting, deed.key)
			d.mu.Unlock()
		default:
			d.t.Errorf("%s: %v", deed, err)
		}
		return
	}
}

func (d *drill) answered(deed deed) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.acked[deed.key] = true
	delete(d.waiting, deed.key)
	d.gap = max(d.gap, time.Since(d.last))
	d.last = time.Now()
}

// count is how many deeds have been answered.
func (d *drill) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.acked)
}

// until returns when n more deeds have been answered, or none has for long.
func (d *drill) until(n int) {
	d.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	n += d.count()
	for begun := time.Now(); d.count() < n; <-tick.C {
		if time.Since(begun) > time.Minute {
			d.t.Fatalf("%d of %d deeds answered", d.count(), n)
		}
	}
}

// stored reads the keys that begin with name and a full stop, with how many transfers each has.
func (d *drill) stored(name string) map[string]int64 {
	d.t.Helper()
	var rows []struct {
		Key string
		N   int64
	}
	d.must(d.db.Raw("SELECT key, count(*) AS n FROM prm_ledger_transfers WHERE key >= ? AND key < ? GROUP BY key", name+".", name+"/").Scan(&rows).Error)
	list := make(map[string]int64, len(rows))
	for _, r := range rows {
		list[r.Key] = r.N
	}
	return list
}

// settled fails unless what is stored under name is what was acknowledged, each once, and the whole ledger adds up.
func (d *drill) settled(name string) (acked, lost, twice, unasked int) {
	d.t.Helper()
	stored := d.stored(name)
	for key, n := range stored {
		switch {
		case n > 1:
			twice++
		case !d.acked[key]:
			unasked++
		}
	}
	for key := range d.acked {
		if stored[key] == 0 {
			lost++
		}
	}
	if acked = len(d.acked); lost+twice+unasked > 0 {
		d.t.Errorf("%s: of %d acknowledged %d are lost, %d are there twice; %d are there that nobody was told of", name, acked, lost, twice, unasked)
	}
	d.acked = map[string]bool{}
	d.sums(name)
	return acked, lost, twice, unasked
}

// sums fails unless nothing was made or lost, the audit tells of each transfer, and reserved units are those of open reservations.
func (d *drill) sums(name string) {
	d.t.Helper()
	var got struct{ All, Held, Transfers, Events, Set, Reserved int64 }
	d.must(d.db.Raw(`SELECT (SELECT CAST(SUM(amount) AS BIGINT) FROM prm_ledger_balances) AS "all",
		(SELECT CAST(SUM(amount) AS BIGINT) FROM prm_ledger_balances WHERE owner <> 'issuer') AS held,
		(SELECT count(*) FROM prm_ledger_transfers) AS transfers,
		(SELECT count(*) FROM prm_events WHERE kind IN ('license.granted', 'license.assigned', 'license.returned', 'license.consumed', 'license.reserved',
			'license.posted', 'license.voided')) AS events,
		(SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM prm_ledger_balances WHERE state = 'reserved') AS "set",
		(SELECT CAST(COALESCE(SUM(quantity), 0) AS BIGINT) FROM prm_ledger_reservations WHERE state = 'open') AS reserved`).Scan(&got).Error)
	if got.All != 0 || got.Held != drillStock || got.Events != got.Transfers || got.Set != got.Reserved {
		d.t.Errorf("%s: %+v, want all 0, held %d, an event a transfer, set apart what open reservations have", name, got, drillStock)
	}
}

// sound fails unless every balance follows from history.
func (d *drill) sound(name string) {
	d.t.Helper()
	v, err := d.seats.Verify(d.vendor)
	d.must(err)
	if v.FirstWrong != 0 {
		d.t.Errorf("%s: the ledger is wrong: %+v", name, v)
	}
}
