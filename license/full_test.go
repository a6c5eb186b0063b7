package license_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// What a full disk refuses is not there, not even half; and when there is space again, the same keys act once.
func TestCrash_FullSQLiteFile(t *testing.T) {
	db := &dbtest.Database{Kind: dbtest.SQLite, DSN: partner.SQLiteDSN(filepath.Join(t.TempDir(), "full.db"))}
	db.DB = db.Open(t, &gorm.Config{})
	d := newDrill(t, db.DB)
	d.fill("full", func() { bound(t, db, 0) }, func() { bound(t, db, 1<<30) })
	var sound string
	if err := db.Raw("PRAGMA integrity_check").Scan(&sound).Error; err != nil || sound != "ok" {
		t.Errorf("integrity_check: %q, %v", sound, err)
	}
}

// bound lets the file grow by so many pages at most; the limit belongs to a connection.
func bound(t *testing.T, db *dbtest.Database, more int64) {
	t.Helper()
	pool, err := db.DB.DB()
	if err != nil {
		t.Fatal(err)
	}
	var pages int64
	if err := db.Raw("PRAGMA page_count").Scan(&pages).Error; err != nil {
		t.Fatal(err)
	}
	var conns []io.Closer
	for range pool.Stats().MaxOpenConnections {
		conn, err := pool.Conn(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if _, err := conn.ExecContext(context.Background(), fmt.Sprint("PRAGMA max_page_count = ", pages+more)); err != nil {
			t.Error(err)
		}
	}
	for _, c := range conns {
		_ = c.Close()
	}
}

// The files of this server cannot grow any more, which ends a statement as a full disk does.
func TestCrash_FullPostgreSQL(t *testing.T) {
	node := dbtest.NewNode(t, "--wal-segsize=1")
	start := func(blocks string) {
		t.Helper()
		node.End("INT")
		if err := node.StartLimited(blocks, "fsync=off", "autovacuum=off"); err != nil {
			t.Fatal(err)
		}
	}
	start("unlimited")
	if err := node.Database("drill"); err != nil {
		t.Fatal(err)
	}
	db := &dbtest.Database{Kind: dbtest.Postgres, DSN: node.DSN("drill")}
	db.DB = db.Open(t, &gorm.Config{})
	d := newDrill(t, db.DB)
	d.pad()
	const mebibyte = "2048"
	d.fill("full", func() { start(mebibyte) }, func() { start("unlimited") })
}

// pad makes the history larger than what the server's files may be, by one long batch.
func (d *drill) pad() {
	d.t.Helper()
	list := make([]license.Move, 4_000)
	for i := range list {
		list[i] = license.Move{To: d.projects[i%len(d.projects)].ID, SKU: drillSKU, Quantity: 1}
	}
	_, err := d.seats.AssignAll(d.sessions[0], list, true)
	d.must(err)
	d.sums("pad")
}

// repeat does a deed until it is answered: each connection of the pool may have died with the server.
func (d *drill) repeat(deed deed) (id string, err error) {
	for range 20 {
		if id, err = d.do(deed); !errors.Is(err, partner.ErrUnavailable) {
			break
		}
	}
	return id, err
}

// fill lets sixteen callers meet a full disk, and repeat themselves when it is not any more.
func (d *drill) fill(name string, full, free func()) {
	d.t.Helper()
	full()
	var mu sync.Mutex
	var refused []deed
	ended := map[string]bool{} // a caller may have tried to post and to void the same reservation, and one of them may have found space
	callers := make([]*caller, 16)
	for i := range callers {
		callers[i] = &caller{place: i % drillPlaces, name: fmt.Sprint(name, ".", i)}
	}
	together(len(callers), func(i int) error {
		for range 15 {
			deed := callers[i].next()
			id, err := d.do(deed)
			mu.Lock()
			switch {
			case err == nil:
				callers[i].learn(deed, id)
				d.acked[deed.key] = true
				ended[deed.reservation] = true
			case errors.Is(err, partner.ErrUnavailable):
				refused = append(refused, deed)
			case !callers[i].fair(deed, err):
				d.t.Errorf("%s: %v", deed, err)
			}
			mu.Unlock()
		}
		return nil
	})
	before := len(d.acked)
	if len(refused) == 0 {
		d.t.Errorf("%d deeds found space", before)
	}
	stored := d.stored(name)
	for _, deed := range refused {
		if stored[deed.key] != 0 {
			d.t.Errorf("%s was refused and is stored", deed)
		}
	}
	d.sums(name)
	d.sound(name)
	free()
	for _, deed := range refused {
		first, err := d.repeat(deed)
		if err != nil {
			if !errors.Is(err, license.ErrInsufficient) && !(errors.Is(err, license.ErrReservationDone) && ended[deed.reservation]) {
				d.t.Errorf("%s, with space again: %v", deed, err)
			}
			continue
		}
		ended[deed.reservation] = true
		if again, err := d.repeat(deed); err != nil || again != first {
			d.t.Errorf("%s again: %s, %v; want %s", deed, again, err, first)
		}
		d.acked[deed.key] = true
	}
	d.t.Logf("%d deeds found space before the disk was full, %d did not", before, len(refused))
	d.settled(name)
	d.sound(name)
}
