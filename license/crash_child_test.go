package license_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/license"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// What a child process of the crash test is told.
const (
	crashKind  = "PARTNERKIT_CRASH_KIND"
	crashDSN   = "PARTNERKIT_CRASH_DSN"
	crashCycle = "PARTNERKIT_CRASH_CYCLE"
)

// A child is this test binary started again; it works until it is killed.
func init() {
	if os.Getenv(crashDSN) == "" {
		return
	}
	if err := crashChild(); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// crashHasher is fast: log-ins are not what this test is about.
type crashHasher struct{}

func (crashHasher) Hash(_ context.Context, p []byte) (string, error) {
	return "crash:" + string(p), nil
}

func (crashHasher) Verify(_ context.Context, hash string, p []byte) (ok, renew bool, err error) {
	return bytes.Equal([]byte(hash), append([]byte("crash:"), p...)), false, nil
}

func crashOptions() *partner.Options {
	return &partner.Options{Hasher: crashHasher{}, Logger: slog.New(slog.DiscardHandler)}
}

const (
	crashLogin    = "crash-partner"
	crashPassword = "correct horse battery"
	crashSKU      = "seat"
	crashProjects = 3
	crashWorkers  = 4 // the first works in the pool, the others each in a project
)

// crashMove is one call with its key, as it is written on standard output before ("try") and after it returned ("ack").
type crashMove struct {
	worker int
	verb   string // "assign" or "return"
	to     int    // the project assigned to
	n      int64
	key    string
}

func (m crashMove) String() string {
	return fmt.Sprintf("%d %s %d %d %s", m.worker, m.verb, m.to, m.n, m.key)
}

func parseCrashMove(s string) (m crashMove, ok bool) {
	n, err := fmt.Sscanf(s, "%d %s %d %d %s", &m.worker, &m.verb, &m.to, &m.n, &m.key)
	return m, err == nil && n == 5
}

// do makes the move as its worker.
func (m crashMove) do(ctx context.Context, seats *license.Ledger, projects []partner.Account) (license.Transfer, error) {
	if m.verb == "return" {
		return seats.Return(ctx, crashSKU, m.n, license.Key(m.key))
	}
	return seats.Assign(ctx, projects[m.to].ID, crashSKU, m.n, license.Key(m.key))
}

// crashSessions logs in once per worker and has it switch to where it works.
func crashSessions(reg *partner.Registry) (list []context.Context, projects []partner.Account, err error) {
	for w := range crashWorkers {
		s, err := reg.Access.Login(context.Background(), crashLogin, crashPassword, "")
		if err != nil {
			return nil, nil, err
		}
		ctx := partner.WithSession(context.Background(), s)
		if w == 0 {
			page, err := reg.Accounts.List(ctx, partner.AccountFilter{}, partner.PageRequest{})
			if err != nil {
				return nil, nil, err
			}
			projects = page.Items
		} else if err := reg.Access.SwitchTo(ctx, projects[w-1].ID); err != nil {
			return nil, nil, err
		}
		list = append(list, ctx)
	}
	return list, projects, nil
}

func crashChild() error {
	db, err := dbtest.Connect(os.Getenv(crashKind), os.Getenv(crashDSN), &gorm.Config{})
	if err != nil {
		return err
	}
	reg, err := partner.Open(context.Background(), db, crashOptions())
	if err != nil {
		return err
	}
	sessions, projects, err := crashSessions(reg)
	if err != nil {
		return err
	}
	seats := license.New(reg)
	var out sync.Mutex
	say := func(word, what string) {
		out.Lock()
		defer out.Unlock()
		_, _ = os.Stdout.WriteString(word + " " + what + "\n") // unbuffered: what is written survives the process
	}
	var all sync.WaitGroup
	for w, ctx := range sessions {
		all.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("%s.%d.%d", os.Getenv(crashCycle), w, i)
				m := crashMove{worker: w, verb: "assign", to: rand.IntN(crashProjects), n: 1 + rand.Int64N(3), key: key}
				if w > 0 && (m.to == w-1 || i%2 == 0) {
					m.verb = "return"
				}
				say("try", m.String())
				if _, err := m.do(ctx, seats, projects); err == nil {
					say("ack", m.String())
				} else {
					say("refused", fmt.Sprint(m, " ", err))
				}
			}
		})
	}
	all.Wait()
	return nil
}
