package partner_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/partnerkit/partnerkit/partner"
)

// TestPLX06_ManyAtOnce: with many at once counters stay right, and nobody who is active is without a log-in.
func TestPLX06_ManyAtOnce(t *testing.T) {
	pgMailing(t, func(w *world, box *postbox) {
		acme, _ := w.partner("acme")
		beta, _ := w.partner("beta")
		second := w.addedUser(acme.ID, "second")
		q := partner.Quota{Employees: 3, SpecialEmployees: 3, ExternalUsers: 3, Collaborators: 3}
		w.must(w.reg.Accounts.DefineType(w.vendor, partner.AccountType{Code: "small", Quota: q}))
		owners := []context.Context{w.login("acme"), w.login("second")}
		a, err := w.reg.Accounts.Open(owners[0], partner.NewAccount{Type: "small", Name: "A"})
		w.must(err)
		b, err := w.reg.Accounts.Open(owners[0], partner.NewAccount{Type: "small", Name: "B"})
		w.must(err)
		var users []partner.User
		for i := range 6 {
			users = append(users, w.addedUser(beta.ID, fmt.Sprint("u", i)))
		}
		accounts := []partner.AccountID{a.ID, b.ID}
		var mu sync.Mutex
		var ids []partner.MemberID
		var tokens []partner.Secret
		seen := map[string]int{}
		var all sync.WaitGroup
		for g := range 8 {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			all.Go(func() {
				for range 40 {
					me := owners[rnd.IntN(2)]
					acc := accounts[rnd.IntN(2)]
					mu.Lock()
					pick, token := partner.MemberID("mem_none"), partner.Secret("none")
					if len(ids) > 0 {
						pick = ids[rnd.IntN(len(ids))]
					}
					if len(tokens) > 0 {
						token = tokens[rnd.IntN(len(tokens))]
					}
					mu.Unlock()
					var err error
					what := ""
					add := func(m partner.NewMember) {
						var made partner.MemberInfo
						made, err = w.reg.Accounts.AddMember(me, acc, m)
						mu.Lock()
						if err == nil {
							ids = append(ids, made.ID)
							if made.Token != "" {
								tokens = append(tokens, made.Token)
							}
						}
						mu.Unlock()
					}
					switch rnd.IntN(10) {
					case 0, 1:
						what = "special"
						add(partner.NewMember{Kind: partner.Special, Name: "S"})
					case 2:
						what = "collaborator"
						add(partner.NewMember{Kind: partner.Collaborator, Email: users[rnd.IntN(len(users))].Email})
					case 3:
						what = "external"
						add(partner.NewMember{Kind: partner.External, Email: fmt.Sprintf("x%d@member.example", rnd.IntN(8)), Roles: []string{"r"}})
					case 4:
						what, err = "deactivate", w.reg.Accounts.DeactivateMember(me, pick)
					case 5:
						what, err = "reactivate", w.reg.Accounts.ReactivateMember(me, pick)
					case 6:
						what, err = "remove", w.reg.Accounts.RemoveMember(me, pick)
					case 7, 8:
						what = "accept"
						_, err = w.accept(token)
					case 9:
						what = "transfer"
						err = w.reg.Accounts.TransferOwnership(w.vendor, acc, []partner.UserID{acme.Contact, second.ID}[rnd.IntN(2)])
					}
					if err != nil {
						mu.Lock()
						seen[what+": "+err.Error()]++
						mu.Unlock()
					}
				}
			})
		}
		all.Wait()
		for k, n := range seen {
			t.Logf("%5d %s", n, k)
		}
		t.Logf("%d members", rowsIn(t, w.db, "prm_members"))
		w.countsAdd()
		odd := rowsIn(t, w.db, "prm_members m JOIN prm_identities i ON i.id = m.identity_id WHERE m.state = 'active' AND i.login_key IS NULL")
		if odd > 0 {
			t.Errorf("%d active members without a log-in", odd)
		}
	}, func(o *partner.Options) { o.DeliverTokens = true })
}
