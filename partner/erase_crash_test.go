package partner_test

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

const (
	childErases = "PARTNERKIT_CHILD_ERASES" // the account that it closes, or goes on closing
	childStep   = "PARTNERKIT_CHILD_STEP"   // at which of its steps it is killed; 0: at none
)

// steps counts what a process does that another could come after: each look at the clock, each id, and each thing of the host's.
type steps struct {
	done  atomic.Int64
	last  int64
	ahead atomic.Int64 // of its clock
}

func (s *steps) one() {
	if s.done.Add(1) == s.last {
		_ = die()
	}
}

func (s *steps) now() time.Time {
	s.one()
	return time.Now().Add(time.Duration(s.ahead.Load()))
}

func (s *steps) random(b []byte) {
	s.one()
	_, _ = cryptorand.Read(b)
}

// files are a host's data, a file for each thing.
type files struct {
	dir, class string
	*steps
}

func (f files) Class() string { return f.class }

func (f files) Erase(_ context.Context, a partner.AccountID) (count int, err error) {
	list, err := filepath.Glob(filepath.Join(f.dir, string(a)+"-"+f.class+"-*"))
	for _, file := range list {
		f.one()
		err = errors.Join(err, os.Remove(file))
	}
	f.one()
	return len(list), err
}

// eraseChild closes an account, from wherever it is to the receipt.
func eraseChild() error {
	db, err := dbtest.Connect(os.Getenv(childKind), os.Getenv(childDSN), &gorm.Config{})
	if err != nil {
		return err
	}
	last, err := strconv.ParseInt(os.Getenv(childStep), 10, 64)
	if err != nil {
		return err
	}
	ahead, err := time.ParseDuration(os.Getenv(childAhead))
	if err != nil {
		return err
	}
	s, dir, id := &steps{last: last}, os.Getenv(childFile), partner.AccountID(os.Getenv(childErases))
	s.ahead.Store(int64(ahead))
	reg, err := partner.Open(context.Background(), db, &partner.Options{Hasher: plainHasher{}, Logger: slog.New(slog.DiscardHandler), Clock: s.now, Random: s.random, DeliverTokens: true,
		Erasers: []partner.Eraser{files{dir, workData, s}, files{dir, connectors, s}},
		Signer:  func(context.Context, []byte) ([]byte, string, error) { s.one(); return []byte("signed"), "key", nil }})
	if err != nil {
		return err
	}
	session, err := reg.Access.Login(context.Background(), "acme", password, "")
	if err != nil {
		return err
	}
	me := partner.WithSession(context.Background(), session)
	if a, err := reg.Accounts.Get(me, id); err == nil && a.State != "deleting" {
		if err := confirmOne(reg, me, a); err != nil {
			return err
		}
	} else if err != nil && !errors.Is(err, partner.ErrNotFound) {
		return err
	}
	for range 10 {
		s.ahead.Add(int64(time.Minute))
		if _, err := reg.Step(context.Background()); err != nil {
			return err
		}
		if _, err := reg.Accounts.Receipt(me, id); err == nil {
			return nil
		}
	}
	return fmt.Errorf("no receipt of %s", id)
}

func confirmOne(reg *partner.Registry, me context.Context, a partner.Account) (err error) {
	var token partner.Secret
	if a.State == "closing" {
		token, err = reg.Accounts.RemindClose(me, a.ID)
	} else {
		var c partner.Closing
		c, err = reg.Accounts.Close(me, a.ID)
		token = c.Token
	}
	if err != nil {
		return err
	}
	return reg.Accounts.ConfirmClose(context.Background(), token)
}

// TestCLW20_CLW22_KilledBetweenAnyTwoSteps of closing, erasing and proving, a process is followed by another one that ends it; the host's data and the
// project's are gone, its licences are back once, and there is one receipt.
func TestCLW20_CLW22_KilledBetweenAnyTwoSteps(t *testing.T) {
	every := int64(1)
	if testing.Short() {
		every = 9
	}
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w := newWorld(t, db, func(o *partner.Options) { o.Clock = time.Now; o.DeliverTokens = true })
		p, me := w.partner("acme")
		w.stock(p.ID, "seat", 100)
		dir, killed, ahead, cycles, lifetime := t.TempDir(), 0, time.Hour, int64(0), time.Second
		for step, whole := int64(1), false; !whole || cycles < 100/every; step += every {
			cycles++
			a := w.project(me, fmt.Sprint("one", step))
			w.must(second(w.seats.Assign(me, a.ID, "seat", 5)))
			w.must(second(w.reg.Accounts.AddMember(me, a.ID, partner.NewMember{Kind: partner.Guest, Email: canary + "@x.example", Roles: []string{"viewer"}})))
			for i := range 2 {
				for _, class := range []string{workData, connectors} {
					w.must(os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-%d", a.ID, class, i)), []byte("x"), 0o600))
				}
			}
			how := end{step: step, within: time.Minute}
			if whole { // and between what the SDK and the database say to each other
				how = end{within: time.Duration(rand.Int64N(int64(lifetime)))}
			}
			for _, how := range []end{how, {within: time.Minute}} {
				ahead += 20 * time.Minute // more than a lease
				began := time.Now()
				died := w.eraseInChild(a.ID, dir, how, ahead)
				switch {
				case died:
					killed++
				case how.step > 0:
					whole, lifetime = true, time.Since(began)
				}
			}
			w.erasedOnce(p, a.ID, dir)
		}
		t.Logf("%d processes were killed", killed)
		w.sound()
		if dump := string(db.Dump(t)); strings.Contains(strings.ToLower(dump), strings.ToLower(canary)) {
			t.Error("something of the projects is left")
		}
	})
}

// end is how a process is killed: at one of its steps, and in any case after a time.
type end struct {
	step   int64
	within time.Duration
}

// eraseInChild has another process go on with closing an account; died tells that it was killed.
func (w *world) eraseInChild(id partner.AccountID, dir string, how end, ahead time.Duration) (died bool) {
	w.t.Helper()
	self, err := os.Executable()
	w.must(err)
	ctx, cancel := context.WithTimeout(w.t.Context(), how.within)
	defer cancel()
	process := exec.CommandContext(ctx, self)
	process.Env = append(os.Environ(), childKind+"="+w.db.Kind, childDSN+"="+w.db.DSN, childFile+"="+dir, childErases+"="+string(id),
		childStep+"="+strconv.FormatInt(how.step, 10), childAhead+"="+ahead.String())
	out, err := process.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == -1 && (how.step > 0 || how.within < time.Minute) {
		return true
	}
	if err != nil && ctx.Err() == nil {
		w.t.Fatalf("killed by %+v: %v: %s", how, err, out)
	}
	return false
}

// erasedOnce fails unless an account is gone and proved to be, and nothing went or came back twice.
func (w *world) erasedOnce(p partner.Partner, id partner.AccountID, dir string) {
	w.t.Helper()
	r, err := w.reg.Accounts.Receipt(w.vendor, id)
	w.must(err)
	if r.Erased["account"] != 1 || r.Erased["members"] != 1 || string(r.Signature) != "signed" || w.stands(id) != "deleted" {
		w.t.Fatalf("the receipt is %+v", r)
	}
	if n := w.available(w.vendor, p.ID, "seat"); n != 100 {
		w.t.Fatalf("the pool has %d", n)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		w.t.Fatalf("left are %v", left)
	}
	for _, kind := range []string{"account.closing", "account.close_confirmed", "account.deleted"} {
		if n := rowsIn(w.t, w.db, "prm_events WHERE account_id = ? AND kind = ?", id, kind); n != 1 {
			w.t.Fatalf("%s has happened %d times", kind, n)
		}
	}
	if n := rowsIn(w.t, w.db, "prm_ledger_transfers WHERE verb = 'close' AND hash = ?", string(id)); n != 1 {
		w.t.Fatalf("%d transfers of the close", n)
	}
}
