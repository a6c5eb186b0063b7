package partner_test

import (
	"testing"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
)

// TestPLX28_AKeysContentIsKeptForYears: the digests of today's fields of accounts and members must not change either.
func TestPLX28_AKeysContentIsKeptForYears(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, db *dbtest.Database) {
		w := newWorld(t, db)
		p, me := w.partner("acme")
		w.certify(p.ID, "gold", partner.Period{})
		n := partner.NewAccount{Type: "solution", Name: "Lab", OwnerEmail: "Acme@Partner.example", Key: "k"}
		lab, err := w.reg.Accounts.Open(me, n)
		w.must(err)
		var row map[string]any // the account's id is in a member's digest
		w.must(db.Table("prm_accounts").Where("id = ?", lab.ID).Take(&row).Error)
		row["id"], row["name"], row["name_key"] = "acc_frozen", "Frozen", "frozen"
		w.must(db.Table("prm_accounts").Create(row).Error)
		m := partner.NewMember{Kind: partner.Special, Name: "Extra", Email: "extra@user.example", Roles: []string{"clerk", "chief"}, Locale: "de", Key: "k"}
		w.must(second(w.reg.Accounts.AddMember(me, "acc_frozen", m)))
		for verb, want := range map[string]string{"account.open": accountHash, "member.add": memberHash} {
			var got string
			w.must(db.Raw("SELECT hash FROM prm_keys WHERE partner_id = ? AND verb = ? AND key = 'k'", p.ID, verb).Scan(&got).Error)
			if got != want {
				t.Errorf("%s: content hash %s, want %s", verb, got, want)
			}
		}
	})
}

const (
	accountHash = "2e4c4c525d369df3a8bd2b82bb4152bc"
	memberHash  = "634719e364ab82dcbc12730c39900dbd"
)
