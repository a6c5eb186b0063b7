package partner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// countingHasher counts what it is asked, and how much of it at once.
type countingHasher struct {
	plainHasher
	running, most, verified atomic.Int64
	hold                    chan struct{} // if not nil, each call waits for it
	entered                 chan struct{}
}

func (h *countingHasher) Verify(ctx context.Context, hash string, p []byte) (ok, renew bool, err error) {
	h.verified.Add(1)
	n := h.running.Add(1)
	defer h.running.Add(-1)
	for m := h.most.Load(); n > m && !h.most.CompareAndSwap(m, n); m = h.most.Load() {
	}
	if h.hold != nil {
		h.entered <- struct{}{}
		<-h.hold
	}
	return h.plainHasher.Verify(ctx, hash, p)
}

// still is a time that stands until it is moved: waits are measured on it.
type still struct{ clock }

func (c *still) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

// guessing is a world with a counting hasher and a still clock.
func guessing(t *testing.T, db *dbtest.Database) (*world, *countingHasher, *still) {
	h, c := &countingHasher{}, &still{clock{t: newClock().t}}
	w := newWorld(t, db, func(o *partner.Options) { o.Hasher, o.Clock = h, c.Now })
	return w, h, c
}

func (w *world) try(login, pass, source string) error {
	_, err := w.reg.Access.Login(context.Background(), login, partner.Secret(pass), source)
	return err
}

func TestPIL27_LoginNamesAreOneNamespace(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("Straße.One")
		for _, same := range []string{"straße.one", "STRASSE.ONE", "Ｓtrasse.ｏne", " strasse.one "} {
			a := agreement(same)
			a.Email = ""
			_, err := w.reg.Partners.Create(w.vendor, a)
			wantsFields(w.t, "partner log-in "+same, err, "login:taken")
			_, err = w.reg.Accounts.OpenProject(me, newProject(same))
			if got := fields(err); !strings.Contains(got, "login:taken") {
				w.t.Errorf("project log-in %q: %v", same, err)
			}
			w.must(w.try(same, password, ""))
		}
		w.project(me, "the-project")
		a := agreement("THE-project")
		_, err := w.reg.Partners.Create(w.vendor, a)
		wantsFields(w.t, "a project's log-in for a partner", err, "login:taken")
	})
}

func TestPIL27_ConcurrentCreationYieldsOne(t *testing.T) {
	each(t, func(w *world) {
		_, me := w.partner("host")
		for round := range 5 {
			name := fmt.Sprintf("wanted%d", round)
			var made atomic.Int64
			var racing sync.WaitGroup
			for i := range 16 {
				racing.Go(func() {
					spelled := name
					if i%2 == 0 {
						spelled = strings.ToUpper(name)
					}
					var err error
					if i%4 < 2 {
						p := newProject(spelled)
						p.Name = fmt.Sprintf("%s of %d", spelled, i)
						_, err = w.reg.Accounts.OpenProject(me, p)
					} else {
						_, err = w.reg.Partners.Create(w.vendor, agreement(spelled))
					}
					switch {
					case err == nil:
						made.Add(1)
					case !errors.Is(err, partner.ErrUnavailable) && fields(err) != "login:taken":
						w.t.Errorf("a loser got %v", err)
					}
				})
			}
			racing.Wait()
			if n := rowsIn(w.t, w.db, "prm_identities WHERE login_key = ?", name); made.Load() != 1 || n != 1 {
				w.t.Fatalf("%d were made, %d stand there", made.Load(), n)
			}
		}
	})
}

func TestPIL27_ConfusableNamesAreRefused(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.SQLite))
	for name, fine := range map[string]bool{
		"acme": true, "acme-2.x_y+z": true, "акме": true, "ακμη": true, "アクメ株式会社": true, "아크메": true, "עברית": true, "हिन्दी": true, "müller": true,
		"аcme": false, "acmе": false, "αcme": false, "acmeα": false, "раypal": false, "аκ": false, "ᎪCME": false, "acmeא": false, "한a": false,
		"a b": false, "a/b": false, "a\u200bb": false, "a\u202eb": false, "a\u00adb": false, "...": false, "-": false, "": false,
		"😀": false, "a:b": false, "a\x00b": false, "a\nb": false, "\xff": false, strings.Repeat("a", 65): false, strings.Repeat("a", 64): true,
	} {
		a := agreement("x")
		a.Login, a.Email = name, ""
		_, err := w.reg.Partners.Create(w.vendor, a)
		if fine != (err == nil) {
			t.Errorf("log-in %q: %v, want it accepted: %v", name, err, fine)
		}
		if err != nil && !strings.HasPrefix(fields(err), "login:") {
			t.Errorf("log-in %q: %v", name, err)
		}
	}
}

// TestPIL27_NamesThatLookTheSameAreRefused: characters that show nothing make a second name that reads like the first.
func TestPIL27_NamesThatLookTheSameAreRefused(t *testing.T) {
	w := newWorld(t, dbtest.New(t, dbtest.SQLite))
	w.partner("acme1")
	for _, name := range []string{"acme1\ufe0f", "ac\u034fme1", "acme1\ufe00", "acme1\U000e0100", "acme\u0661", "acme\u06f1"} {
		a := agreement("x")
		a.Login = name
		if _, err := w.reg.Partners.Create(w.vendor, a); fields(err) != "login:format" && fields(err) != "login:taken" {
			t.Errorf("log-in %+q beside \"acme1\": %v, want it refused", name, err)
		}
	}
}

func TestPIL27_ANameWithAtIsTheInvitedAddress(t *testing.T) {
	each(t, func(w *world) {
		a := agreement("x")
		a.Login, a.Email = "ann@partner.example", "ann@partner.example"
		_, err := w.reg.Partners.Create(w.vendor, a) // nobody proved it
		wantsFields(w.t, "create", err, "login:format")
		p := newProject("x")
		p.Login, p.Email = "ann@partner.example", "ann@partner.example"
		_, me := w.partner("other")
		_, err = w.reg.Accounts.OpenProject(me, p)
		wantsFields(w.t, "project", err, "login:format")
		a.Password, a.Login = "", "bob@partner.example"
		_, err = w.reg.Partners.Invite(w.vendor, a)
		wantsFields(w.t, "another's address", err, "login:format")
		a.Login = "bob＠partner.example" // another at sign
		_, err = w.reg.Partners.Invite(w.vendor, a)
		wantsFields(w.t, "another's address", err, "login:format")
		a.Login = "Ann@Partner.example"
		_, err = w.reg.Partners.Invite(w.vendor, a)
		w.must(err)
	})
}

func TestPIL27_TheIdentityNeverChanges(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		before := rowsIn(w.t, w.db, "prm_identities")
		var id, now string
		w.must(w.db.Raw("SELECT id FROM prm_identities WHERE login_key = 'acme'").Scan(&id).Error)
		_, err := w.reg.Partners.Edit(w.vendor, p.ID, p.Version, func(a *partner.Agreement) { a.Email, a.Name = "new@partner.example", "New" })
		w.must(err)
		w.must(w.reg.Access.ChangePassword(me, password, "another password"))
		_, err = w.reg.Partners.Edit(w.vendor, p.ID, p.Version+1, func(a *partner.Agreement) { a.Login = "new" })
		wants(w.t, "an edit of the log-in", err, partner.ErrImmutable)
		w.must(w.db.Raw("SELECT id FROM prm_identities WHERE login_key = 'acme'").Scan(&now).Error)
		if now != id || rowsIn(w.t, w.db, "prm_identities") != before {
			w.t.Errorf("the identity is %s, was %s", now, id)
		}
	})
}

// TestPIL28_Argon2idByDefault logs in with the real hasher, whose weaker hashes are renewed.
func TestPIL28_Argon2idByDefault(t *testing.T) {
	each(t, func(w *world) {
		w = newWorld(w.t, w.db, func(o *partner.Options) { o.Hasher = nil })
		p, _ := w.partner("acme")
		stored := func() (hash string) {
			w.must(w.db.Raw("SELECT password_hash FROM prm_identities WHERE login_key = 'acme'").Scan(&hash).Error)
			return hash
		}
		fresh := stored()
		if !strings.HasPrefix(fresh, "$argon2id$v=19$m=47104,t=1,p=1$") {
			w.t.Fatalf("the hash is %.40s", fresh)
		}
		w.login("acme")
		if stored() != fresh {
			w.t.Error("a strong hash was renewed")
		}
		weak, err := argon2id.CreateHash(password, &argon2id.Params{Memory: 8 * 1024, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32})
		w.must(err)
		tamper(w.t, w.db, "UPDATE prm_identities SET password_hash = ? WHERE login_key = 'acme'", weak)
		before := w.login("acme")
		if got := stored(); !strings.HasPrefix(got, "$argon2id$v=19$m=47104,t=1,p=1$") {
			w.t.Errorf("a weak hash stayed: %.40s", got)
		}
		w.login("acme")
		if _, err := w.reg.Partners.Get(before, p.ID); err != nil {
			w.t.Errorf("renewing the hash ended a session: %v", err)
		}
		tamper(w.t, w.db, "UPDATE prm_identities SET password_hash = ? WHERE login_key = 'acme'", weak)
		wants(w.t, "a wrong password", w.try("acme", "wrong password", ""), partner.ErrBadCredentials)
		if stored() != weak {
			w.t.Error("a wrong password renewed the hash")
		}
		huge := strings.Replace(weak, "m=8192", "m=4194304", 1) // asks for 4 GiB
		tamper(w.t, w.db, "UPDATE prm_identities SET password_hash = ? WHERE login_key = 'acme'", huge)
		wants(w.t, "a hostile hash", w.try("acme", password, ""), partner.ErrUnavailable)
	})
}

func TestPIL28_UnknownWrongAndUnsetAnswerAlike(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w, h, _ := guessing(t, db)
		_, me := w.partner("acme")
		p := newProject("unset")
		p.Password = ""
		_, err := w.reg.Accounts.OpenProject(me, p)
		w.must(err)
		var texts []string
		for _, login := range []string{"acme", "nobody", "unset", "", "a@b.example", "no\x00body", "\xff"} {
			before := h.verified.Load()
			err := w.try(login, "wrong password", "")
			wants(t, fmt.Sprintf("log-in %q", login), err, partner.ErrBadCredentials)
			if h.verified.Load() != before+1 {
				t.Errorf("log-in %q cost %d hashes, want 1", login, h.verified.Load()-before)
			}
			texts = append(texts, err.Error())
		}
		for _, text := range texts {
			if text != texts[0] {
				t.Errorf("%q and %q differ", text, texts[0])
			}
		}
		wants(t, "the empty password of the unset", w.try("unset", "", ""), partner.ErrBadCredentials)
	})
}

func TestPIL28_BlockedAndPendingOnlyAfterTheRightPassword(t *testing.T) {
	each(t, func(w *world) {
		p, _ := w.partner("acme")
		w.must(w.reg.Partners.Block(w.vendor, p.ID, false))
		a := agreement("invited")
		a.Password = ""
		_, err := w.reg.Partners.Invite(w.vendor, a)
		w.must(err)
		wants(w.t, "an invitee without a password", w.try("invited", password, ""), partner.ErrBadCredentials)
		tamper(w.t, w.db, "UPDATE prm_identities SET password_hash = (SELECT password_hash FROM prm_identities WHERE login_key = 'acme')")
		wants(w.t, "wrong", w.try("acme", "wrong password", ""), partner.ErrBadCredentials)
		wants(w.t, "wrong", w.try("invited", "wrong password", ""), partner.ErrBadCredentials)
		wants(w.t, "right, blocked", w.try("acme", password, ""), partner.ErrBlocked)
		wants(w.t, "right, pending", w.try("invited", password, ""), partner.ErrPending)
		if n := rowsIn(w.t, w.db, "prm_sessions WHERE partner_id <> ?", p.ID); n != 0 {
			w.t.Errorf("%d sessions of refused log-ins", n)
		}
	})
}

// TestPIL28_GuessesWaitLongerAndLonger walks the waits of one name, known or not: five free guesses, then doubling up to 15 minutes.
func TestPIL28_GuessesWaitLongerAndLonger(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w, h, c := guessing(t, db)
		w.partner("acme")
		for _, name := range []string{"acme", "nobody"} {
			for i := range 5 {
				wants(t, fmt.Sprintf("%s, free guess %d", name, i+1), w.try(name, "wrong password", ""), partner.ErrBadCredentials)
			}
			for i, wait := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900} {
				before := h.verified.Load()
				c.Advance(wait*time.Second - time.Microsecond)
				wants(t, fmt.Sprintf("%s, too early for guess %d", name, i+6), w.try(strings.ToUpper(name), password, ""), partner.ErrUnavailable)
				if h.verified.Load() != before {
					t.Fatal("a guess that must wait was hashed")
				}
				c.Advance(time.Microsecond)
				wants(t, fmt.Sprintf("%s, guess %d", name, i+6), w.try(name, "wrong password", ""), partner.ErrBadCredentials)
			}
		}
		c.Advance(15 * time.Minute)
		w.must(w.try("acme", password, "")) // never locked out for good; and all is forgiven
		for range 5 {
			wants(t, "after forgiveness", w.try("acme", "wrong password", ""), partner.ErrBadCredentials)
		}
		wants(t, "after forgiveness", w.try("acme", "wrong password", ""), partner.ErrUnavailable)
	})
}

func TestPIL28_ASourceHasFiftyAndAKnownOneIsSpared(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w, _, c := guessing(t, db)
		w.partner("acme")
		w.must(w.try("acme", password, "home"))
		for range 5 {
			wants(t, "a stranger", w.try("acme", "wrong password", "cafe"), partner.ErrBadCredentials)
		}
		wants(t, "the stranger waits", w.try("acme", password, "cafe"), partner.ErrUnavailable)
		wants(t, "and others do", w.try("acme", password, ""), partner.ErrUnavailable)
		w.must(w.try("acme", password, "home")) // the known source does not
		for range 5 {
			wants(t, "wrong from a known source", w.try("acme", "wrong password", "home"), partner.ErrBadCredentials)
		}
		wants(t, "the known source has its own count", w.try("acme", password, "home"), partner.ErrUnavailable)
		for i := range 50 {
			wants(t, fmt.Sprint("guess ", i), w.try(fmt.Sprint("name", i), "wrong password", "botnet"), partner.ErrBadCredentials)
		}
		wants(t, "the source waits", w.try("another", "wrong password", "botnet"), partner.ErrUnavailable)
		wants(t, "another source does not", w.try("another", "wrong password", "office"), partner.ErrBadCredentials)
		c.Advance(time.Second)
		wants(t, "after the wait", w.try("another", "wrong password", "botnet"), partner.ErrBadCredentials)
	})
}

// TestPIL28_ParallelGuessesCannotSlipPast makes 200 guesses at one name at once.
func TestPIL28_ParallelGuessesCannotSlipPast(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w, h, _ := guessing(t, db)
		w.partner("acme")
		var guessing sync.WaitGroup
		for i := range 200 {
			guessing.Go(func() {
				if err := w.try("acme", fmt.Sprint("wrong password ", i), fmt.Sprint("source ", i)); len(kindsOf(err)) != 1 {
					t.Errorf("a guess answered %v", err)
				}
			})
		}
		guessing.Wait()
		if n := h.verified.Load() - 1; n > 6 || n < 4 { // without the log-in of the fixture
			t.Errorf("%d guesses were evaluated, want at most 6", n+1)
		}
	})
}

// A right password deletes the count that another right one is about to raise.
func TestPIL28_RightLoginsAtOnceAllGetIn(t *testing.T) {
	each(t, func(w *world) {
		w.partner("acme")
		for range 15 {
			var all sync.WaitGroup
			for i := range 4 { // fewer than the free guesses
				all.Go(func() {
					if err := w.try("acme", password, fmt.Sprint("203.0.113.", i)); err != nil {
						w.t.Errorf("log-in %d: %v", i, err)
					}
				})
			}
			all.Wait()
		}
	})
}

func TestPIL28_FourHashesAtOnceAndNoneForALongPassword(t *testing.T) {
	h := &countingHasher{}
	w := newWorld(t, dbtest.New(t, dbtest.SQLite), func(o *partner.Options) { o.Hasher = h })
	_, me := w.partner("acme")
	before := h.verified.Load()
	long := strings.Repeat("p", 4097)
	wants(t, "a long password", w.try("acme", long, ""), partner.ErrBadCredentials)
	_ = w.reg.Access.ChangePassword(me, partner.Secret(long), "another password")
	if h.verified.Load() != before {
		t.Errorf("long passwords cost %d hashes", h.verified.Load()-before)
	}
	a := agreement("long")
	a.Password = partner.Secret(long)
	_, err := w.reg.Partners.Create(w.vendor, a)
	wantsFields(t, "a long password", err, "password:too_long")
	h.hold, h.entered = make(chan struct{}), make(chan struct{}, 100)
	var trying sync.WaitGroup
	for i := range 12 {
		trying.Go(func() { _ = w.try(fmt.Sprint("name", i), password, "") })
	}
	for range 4 {
		<-h.entered
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := w.reg.Access.Login(ctx, "x", password, ""); !errors.Is(err, partner.ErrUnavailable) {
		t.Errorf("a cancelled call answered %v", err)
	}
	close(h.hold)
	trying.Wait()
	if h.most.Load() != 4 {
		t.Errorf("%d hashes ran at once, want 4", h.most.Load())
	}
}

func TestPIL32_SessionLimits(t *testing.T) {
	each(t, func(w *world) {
		p, me := w.partner("acme")
		idle := w.login("acme")
		for range 30*24 - 1 { // a session used every hour lives to 30 days
			w.clock.Advance(time.Hour)
			if _, err := w.reg.Partners.Get(me, p.ID); err != nil {
				w.t.Fatalf("at %v: %v", w.clock.Now(), err)
			}
		}
		w.clock.Advance(time.Hour)
		_, err := w.reg.Partners.Get(me, p.ID)
		wants(w.t, "after 30 days", err, partner.ErrForbidden)
		_, err = w.reg.Partners.Get(idle, p.ID)
		wants(w.t, "idle", err, partner.ErrForbidden)
		me = w.login("acme")
		w.clock.Advance(12*time.Hour - 10*time.Second)
		_, err = w.reg.Partners.Get(me, p.ID)
		w.must(err)
		w.clock.Advance(12*time.Hour + time.Minute)
		_, err = w.reg.Partners.Get(me, p.ID)
		wants(w.t, "idle for 12 hours and what the last use is written down by", err, partner.ErrForbidden)
	})
}

func TestPIL32_ResumeLogoutAndPasswordChange(t *testing.T) {
	each(t, func(w *world) {
		w.partner("acme")
		ctx := context.Background()
		var list []partner.Session
		for range 3 {
			s, err := w.reg.Access.Login(ctx, "acme", password, "")
			w.must(err)
			list = append(list, s)
		}
		resume := func(s partner.Session) error { _, err := w.reg.Access.Resume(ctx, s.Token()); return err }
		again, err := w.reg.Access.Resume(ctx, list[0].Token())
		w.must(err)
		if again.ID != list[0].ID || again.Principal != list[0].Principal || again.Partner != list[0].Partner || again.Expires != list[0].Expires {
			w.t.Errorf("resumed %+v, want %+v", again, list[0])
		}
		w.must(w.reg.Access.Logout(partner.WithSession(ctx, again)))
		wants(w.t, "after logout", resume(list[0]), partner.ErrForbidden)
		for _, token := range []partner.Secret{"", "x", partner.Secret(list[1].ID), "\x00", "\xff"} {
			_, err := w.reg.Access.Resume(ctx, token)
			wants(w.t, fmt.Sprintf("token %q", string(token)), err, partner.ErrForbidden)
		}
		me := partner.WithSession(ctx, list[1])
		wants(w.t, "a wrong old password", w.reg.Access.ChangePassword(me, "wrong password", "another password"), partner.ErrBadCredentials)
		wantsFields(w.t, "a weak password", w.reg.Access.ChangePassword(me, password, "short"), "new:weak")
		w.must(resume(list[2]))
		w.must(w.reg.Access.ChangePassword(me, password, "another password"))
		w.must(resume(list[1]))
		wants(w.t, "another session after the change", resume(list[2]), partner.ErrForbidden)
		wants(w.t, "the old password", w.try("acme", password, ""), partner.ErrBadCredentials)
		w.must(w.try("acme", "another password", ""))
	})
}
