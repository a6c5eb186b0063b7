package partner_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// TestAT13_EachInvitationIsSentThoughProcessesDie adds users, of which every fifth is rolled back, while processes deliver and are killed
// before and after the sending of a message, or stopped, again and again, and one hangs: what is sent is exactly what was committed, each message
// at least once and always the same. On SQLite, which is for one process at a time, they come one after the other. PARTNERKIT_DELIVERY_USERS sets
// another number of users.
func TestAT13_EachInvitationIsSentThoughProcessesDie(t *testing.T) {
	users := 1000
	if testing.Short() {
		users = 100
	}
	if n, err := strconv.Atoi(os.Getenv("PARTNERKIT_DELIVERY_USERS")); err == nil {
		users = n
	}
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w := newWorld(t, db, func(o *partner.Options) { o.Clock, o.Sealer = time.Now, &xorSealer{key: drillKey} })
		d := &posting{world: w, dir: t.TempDir(), users: users, enough: make(chan struct{}), ends: map[string]int{}}
		begun := time.Now()
		if db.Kind == dbtest.SQLite {
			d.add(1)
			d.deliver(1, func() {})
			d.check()
		} else {
			d.deliver(2, func() { d.add(4) })
			d.check()
			if d.held == 0 {
				t.Error("the process that hangs has held nothing: nothing is proved")
			}
		}
		t.Logf("%d users: %d processes, %v; %d sent of %d messages, %d held; %v", users, d.lives, d.ends, d.lines, users-(users+4)/5, d.held, time.Since(begun).Round(time.Millisecond))
	})
}

// drillKey is the host's, whichever process it is.
const drillKey = 0x5a

// posting is a world whose mail is sent by processes that die.
type posting struct {
	*world
	dir   string
	users int

	enough chan struct{} // closed when nothing is left to send

	mu    sync.Mutex
	lives int
	ends  map[string]int // of processes, by kind
	lines int            // that they wrote of what they sent
	held  int            // by the one that hangs
}

func addressOf(i int) string { return fmt.Sprintf("user%d@user.example", i) }

// rolledBack tells which users are: every fifth.
func rolledBack(i int) bool { return i%5 == 0 }

// fileOf is where a process writes what it sends.
func (d *posting) fileOf(number int) string { return filepath.Join(d.dir, strconv.Itoa(number)) }

// add invites all the users from some goroutines, each in a transaction of the host.
func (d *posting) add(callers int) {
	d.t.Helper()
	var orgs []partner.ID
	for i := range 10 {
		p, _ := d.partner(fmt.Sprint("acme", i))
		orgs = append(orgs, p.ID)
	}
	errs := d.atOnce(callers, func(caller int) error {
		for i := caller; i < d.users; i += callers {
			if err := d.addOne(orgs[i/5%len(orgs)], i); err != nil {
				return fmt.Errorf("user %d: %w", i, err)
			}
		}
		return nil
	})
	d.must(errors.Join(errs...))
}

func (d *posting) addOne(org partner.ID, i int) error {
	err := d.db.Transaction(func(tx *gorm.DB) error {
		u := partner.NewUser{Email: addressOf(i), Name: fmt.Sprint("User ", i), Role: partner.Member}
		if _, err := d.reg.In(tx).Users.Add(d.vendor, org, u); err != nil {
			return err
		}
		if rolledBack(i) {
			return errRollBack
		}
		return nil
	})
	if rolledBack(i) && errors.Is(err, errRollBack) {
		return nil
	}
	return err
}

// deliver keeps some processes alive while meanwhile runs and until nothing is left to send.
func (d *posting) deliver(processes int, meanwhile func()) {
	d.t.Helper()
	var group sync.WaitGroup
	defer group.Wait()
	ctx, cancel := context.WithTimeout(d.t.Context(), 3*time.Minute)
	defer cancel()
	keep := func(work func(context.Context) error) {
		group.Go(func() {
			if err := work(ctx); err != nil {
				d.t.Error(err)
				cancel()
			}
		})
	}
	if processes > 1 { // others take over what it has, and in the end it gives that back
		d.lives = 1
		keep(func(ctx context.Context) error { return d.live(ctx, 0, hung) })
	}
	for range processes {
		keep(func(ctx context.Context) error {
			if processes > 1 {
				d.awaitHung(ctx)
			}
			return d.keepAlive(ctx)
		})
	}
	meanwhile()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for rowsIn(d.t, d.db, "prm_deliveries WHERE state IN ('ready', 'leased')") > 0 && ctx.Err() == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	close(d.enough)
	group.Wait()
}

// awaitHung returns when the process that hangs has something in hand.
func (d *posting) awaitHung(ctx context.Context) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if text, _ := os.ReadFile(d.fileOf(0)); len(text) > 0 {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// keepAlive starts a process again whenever it has ended, until there is enough.
func (d *posting) keepAlive(ctx context.Context) error {
	for {
		select {
		case <-d.enough:
			return nil
		default:
		}
		d.mu.Lock()
		number := d.lives
		d.lives++
		d.mu.Unlock()
		if err := d.live(ctx, number, []string{killedBefore, killedAfter, stopped}[number%3]); err != nil {
			return err
		}
	}
}

// live runs one process until it ends. Its clock is ahead of that of any before, by more than a lease: nobody waits for one here. So it takes
// over what another has in hand, too, which goes on with it: as two processes do whose clocks differ.
func (d *posting) live(ctx context.Context, number int, how string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	process := exec.CommandContext(ctx, self)
	process.Env = append(os.Environ(), childKind+"="+d.db.Kind, childDSN+"="+d.db.DSN, childFile+"="+d.fileOf(number),
		childAhead+"="+(time.Duration(number)*2*time.Minute).String(), childEnd+"="+how, childAfter+"="+strconv.Itoa(1+rand.N(min(40, d.users/5))), childOpen+"="+addressOf(1))
	process.Stderr = d.t.Output()
	stdin, err := process.StdinPipe()
	if err != nil {
		return err
	}
	if err := process.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	select {
	case err = <-ended:
	case <-d.enough:
		_ = stdin.Close()
		if err = <-ended; err == nil {
			return nil
		}
		// It may have died of what it had in hand, though another has sent that.
	}
	if status, ok := process.ProcessState.Sys().(syscall.WaitStatus); how != stopped && ok && status.Signal() == syscall.SIGKILL {
		err = nil
	} else if how != stopped {
		err = fmt.Errorf("a process was to be %s: %v, %v", how, process.ProcessState, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ends[how]++
	return errors.Join(err, ctx.Err())
}

// letterSent is a line of a process.
type letterSent struct{ to, hash, token string }

// sent reads what the processes wrote, by message id. A line without an end is of one that was killed within it.
func (d *posting) sent() map[string]letterSent {
	d.t.Helper()
	all := map[string]letterSent{}
	for i := range d.lives {
		text, err := os.ReadFile(d.fileOf(i))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		d.must(err)
		for line := range strings.Lines(string(text)) {
			if !strings.HasSuffix(line, "\n") {
				continue
			}
			words := strings.Fields(line)
			if words[0] == hung {
				d.held++
				continue
			}
			if len(words) != 4 {
				d.t.Fatalf("a process wrote %q", line)
			}
			d.lines++
			id, l := words[0], letterSent{words[1], words[2], words[3]}
			if before, repeated := all[id]; repeated && before != l {
				d.t.Errorf("%s was sent as %v and as %v", id, before, l)
			}
			all[id] = l
		}
	}
	return all
}

// check holds what was sent against what was committed.
func (d *posting) check() {
	d.t.Helper()
	sent := d.sent()
	var rows []struct{ ID, State, Payload, Owner string }
	d.must(d.db.Raw("SELECT id, state, payload, owner FROM prm_deliveries").Scan(&rows).Error)
	states := map[string]int{}
	for _, r := range rows {
		states[r.State]++
		if r.State == "done" && (r.Payload != "" || r.Owner != "") {
			d.t.Errorf("%s is done, and holds a payload of %d bytes and the owner %q", r.ID, len(r.Payload), r.Owner)
		}
		if _, ok := sent[r.ID]; !ok {
			d.t.Errorf("%s is %s and was never sent", r.ID, r.State)
		}
	}
	committed := d.users - (d.users+4)/5
	if len(rows) != committed || states["done"] != committed || len(sent) != committed {
		d.t.Errorf("%d users are committed; sent were %d messages, the deliveries are %v", committed, len(sent), states)
	}
	times, token := map[string]int{}, partner.Secret("")
	for _, l := range sent {
		if times[l.to]++; l.to == addressOf(1) {
			token = partner.Secret(l.token)
		}
	}
	for i := range d.users {
		want := 1
		if rolledBack(i) {
			want = 0
		}
		if got := times[addressOf(i)]; got != want {
			d.t.Errorf("%s has %d messages, want %d", addressOf(i), got, want)
		}
	}
	for _, how := range []string{killedBefore, killedAfter, stopped} {
		if d.ends[how] == 0 {
			d.t.Errorf("no process was %s: nothing is proved", how)
		}
	}
	if d.lines == len(sent) {
		d.t.Error("nothing was sent twice: nothing is proved")
	}
	d.must(second(d.accept(token)))
	d.login(addressOf(1))
}
