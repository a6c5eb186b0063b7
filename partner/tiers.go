package partner

import (
	"context"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Tier is what the vendor calls a partner for a time, "gold": a label with its reason, which nothing computes. Of two that hold at the same time the
// one that was set later does. SetTier needs the Reason alone, and does not read By and Created.
type Tier struct {
	Label   string    // one line of at most 64 characters, compared as it is written; empty: none
	Period  Period    // From defaults to now; a zero Until is open
	Reason  string    // at most 500 characters, also for taking a label away; the partner's admins see it
	By      string    // who set it, as the audit names it
	Created time.Time // when it was set
}

type tierRow struct {
	ID        string
	PartnerID string
	Tier      string
	FromAt    store.Micros
	UntilAt   store.Micros
	Reason    string
	CreatedBy string
	CreatedAt store.Micros `gorm:"autoCreateTime:false"`
}

func (tierRow) TableName() string { return tiersTable }

func (r tierRow) place() store.Place { return store.Place{At: r.CreatedAt, ID: r.ID} }

func (r tierRow) public() Tier {
	return Tier{Label: r.Tier, Period: Period{From: r.FromAt.Time(), Until: r.UntilAt.Time()}, Reason: r.Reason, By: r.CreatedBy, Created: r.CreatedAt.Time()}
}

// SetTier gives a partner t.Label for t.Period and t.Reason, over whatever it was called then; an empty label takes that away. Vendor only.
// *[ValidationError] with every failing field; [ErrNotFound].
func (d *Program) SetTier(ctx context.Context, id ID, t Tier) (set Tier, err error) {
	defer wrap(&err, "set tier of %s", id)
	var faults checks
	faults.text("label", t.Label, false, maxProgramme)
	faults.text("reason", t.Reason, true, maxReason)
	faults.period("period", t.Period)
	if err := faults.err(); err != nil {
		return set, err
	}
	// The gate of the partner, passed alone, has tiers follow each other.
	ask := Ask{Action: "program.set_tier", Target: string(id), Changes: true}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		row := tierRow{ID: tx.NewID("tir"), PartnerID: string(id), Tier: t.Label, FromAt: store.At(t.Period.From), UntilAt: store.At(t.Period.Until), Reason: t.Reason,
			CreatedBy: s.Actor(), CreatedAt: tx.Clock()}
		var last store.Micros
		if err := tx.Query(decided, &last, "SELECT COALESCE(max(created_at), 0) FROM prm_tiers WHERE partner_id = ?", id); err != nil {
			return err
		}
		row.CreatedAt = max(row.CreatedAt, last+1) // the later one holds even where the clock has been put back
		if row.FromAt == 0 {
			row.FromAt = row.CreatedAt
		}
		if row.UntilAt != 0 && row.UntilAt <= row.FromAt {
			return periodFault("range", "must end after it begins")
		}
		if err := tx.Insert(&row); err != nil {
			return err
		}
		set = row.public()
		return s.Record(tx, "partner.tier_set", string(id), "tier", "period", "reason")
	})
	if err != nil {
		return Tier{}, err
	}
	return set, nil
}

// Tiers pages through what a partner was called, newest first: for the vendor, and for the admins of the partner and of an organisation that manages
// it.
func (d *Program) Tiers(ctx context.Context, id ID, p PageRequest) (page Page[Tier], err error) {
	defer wrap(&err, "tiers of %s", id)
	at, err := p.at("tiers", id)
	if err != nil {
		return page, err
	}
	err = d.reg.Read(ctx, Ask{Action: "program.read", Target: string(id)}, func(tx *store.Tx, s *Standing) error {
		var rows []tierRow
		q := tx.From(s.scope(false), tiersTable).Where("partner_id = ?", id)
		err := tx.Find(store.After(q, tiersTable, "created_at", at.place, at.started, at.limit), &rows)
		page = pageFrom(at, rows, tierRow.place, tierRow.public)
		return err
	})
	return page, err
}

// TierAt returns what a partner is called at t, the zero time for now; empty: nothing. For the vendor, the partner's own users and the admins of an
// organisation that manages it.
func (d *Program) TierAt(ctx context.Context, id ID, t time.Time) (label string, err error) {
	defer wrap(&err, "tier of %s", id)
	var faults checks
	faults.period("t", Period{From: t})
	if err := faults.err(); err != nil {
		return "", err
	}
	err = d.reg.Read(ctx, Ask{Action: "program.tier", Target: string(id)}, func(tx *store.Tx, _ *Standing) error {
		at := store.At(t)
		if at == 0 {
			at = tx.Now()
		}
		var found []string
		err := tx.Query(decided, &found, `SELECT tier FROM prm_tiers WHERE partner_id = ? AND from_at <= ? AND (until_at = 0 OR until_at > ?)
			ORDER BY created_at DESC, id DESC LIMIT 1`, id, at, at)
		if label = ""; len(found) > 0 {
			label = found[0]
		}
		return err
	})
	return label, err
}
