package partner

import (
	"cmp"
	"context"
	"math"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Program is the desk of certification and tiers: what the vendor has certified partners for and what it calls them, and when. Only the vendor
// writes there; that a partner is certified, everybody may know.
type Program struct{ reg *Registry }

// Certification is a fact: the partner is certified for a programme from Period.From to before Period.Until, or until it was revoked. Facts of one
// partner and programme never overlap. Renewing is certifying the next period.
type Certification struct {
	ID        string    // cer_…
	Programme string    // the vendor's word, compared as it is written; one line of at most 64 characters
	Period    Period    // a zero Until is open
	Reason    string    // at most 500 characters; the partner's admins see it
	By        string    // who certified, as the audit names it
	Revoked   time.Time // zero: it was not; not after Period.From: it has never held
	Created   time.Time

	RevokedBy, RevokedReason string
}

const maxProgramme = 64

// endOfTime is when an open fact ends.
const endOfTime store.Micros = math.MaxInt64

type certificationRow struct {
	ID            string
	PartnerID     string
	Programme     string
	FromAt        store.Micros
	UntilAt       store.Micros
	EndsAt        store.Micros // when it ends indeed
	Reason        string
	CreatedBy     string
	RevokedAt     store.Micros
	RevokedBy     string
	RevokedReason string
	Lapsed        bool         // the sweeper has said so
	CreatedAt     store.Micros `gorm:"autoCreateTime:false"`
}

func (certificationRow) TableName() string { return certificationsTable }

func (r certificationRow) place() store.Place { return store.Place{At: r.CreatedAt, ID: r.ID} }

func (r certificationRow) public() Certification {
	return Certification{ID: r.ID, Programme: r.Programme, Period: Period{From: r.FromAt.Time(), Until: r.UntilAt.Time()}, Reason: r.Reason, By: r.CreatedBy,
		Revoked: r.RevokedAt.Time(), Created: r.CreatedAt.Time(), RevokedBy: r.RevokedBy, RevokedReason: r.RevokedReason}
}

// Certify certifies a partner for c.Programme in c.Period, from now on if it does not say from when; c.Reason says why, and the rest of c is not
// read. Vendor only. It is recorded whatever state the partner is in.
//
// *[ValidationError]: "taken" on "period" if the partner is certified for some of it already, also for the same call again. Not inside a host
// transaction above READ COMMITTED, which would not see that.
func (d *Program) Certify(ctx context.Context, id ID, c Certification) (made Certification, err error) {
	defer wrap(&err, "certify %s", id)
	var faults checks
	faults.text("programme", c.Programme, true, maxProgramme)
	faults.period("period", c.Period)
	faults.text("reason", c.Reason, true, maxReason)
	if err := faults.err(); err != nil {
		return made, err
	}
	// The gate of the partner, passed alone, keeps others' facts from coming between the look and the insert, and a call that rests on a fact from
	// going on while that is revoked.
	ask := Ask{Action: "program.certify", Target: string(id), Changes: true}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		row := certificationRow{ID: tx.NewID("cer"), PartnerID: string(id), Programme: c.Programme, FromAt: cmp.Or(store.At(c.Period.From), tx.Clock()),
			UntilAt: store.At(c.Period.Until), Reason: c.Reason, CreatedBy: s.Actor(), CreatedAt: tx.Now()}
		row.EndsAt = cmp.Or(row.UntilAt, endOfTime)
		if row.EndsAt <= row.FromAt { // it is over, or shorter than a microsecond
			return periodFault("range", "must end after it begins")
		}
		fresh, err := row.insert(tx)
		if err != nil {
			return err
		}
		if !fresh {
			return periodFault("taken", "the partner is certified for some of it already")
		}
		made = row.public()
		return s.Record(tx, "certification.granted", row.ID, "programme", "period", "reason")
	})
	if err != nil {
		return Certification{}, err
	}
	return made, nil
}

func periodFault(code, message string) error {
	return &ValidationError{Fields: []FieldError{{Path: "period", Code: code, Message: message}}}
}

// insert adds a fact unless it overlaps another one; what never held overlaps nothing.
func (r certificationRow) insert(tx *store.Tx) (fresh bool, err error) {
	n, err := tx.Exec(decided, `INSERT INTO prm_certifications (id, partner_id, programme, from_at, until_at, ends_at, reason, created_by, created_at)
		SELECT ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (SELECT 1 FROM prm_certifications
		WHERE partner_id = ? AND programme = ? AND from_at < ? AND ends_at > ? AND ends_at > from_at)`,
		r.ID, r.PartnerID, r.Programme, r.FromAt, r.UntilAt, r.EndsAt, r.Reason, r.CreatedBy, r.CreatedAt, r.PartnerID, r.Programme, r.EndsAt, r.FromAt)
	return n == 1, err
}

// Revoke ends a certification now, for the reason given; one that has not begun never holds. From when it returns, the partner is not certified
// by it. Vendor only. [ErrBadTransition] if it was revoked or is over; [ErrNotFound]. Not inside a host transaction above READ COMMITTED.
func (d *Program) Revoke(ctx context.Context, certification, reason string) (c Certification, err error) {
	defer wrap(&err, "revoke certification")
	var faults checks
	faults.text("reason", reason, true, maxReason)
	if err := faults.err(); err != nil {
		return c, err
	}
	ask, err := d.about(ctx, certification)
	if err != nil {
		return c, err
	}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if tx.Frozen() {
			return errFrozen
		}
		var row certificationRow
		q := tx.From(store.OfPartner(ask.Target), certificationsTable).Where("id = ?", certification)
		if err := tx.Take(q, &row, ""); err != nil {
			return err
		}
		now := tx.Clock()
		n, err := tx.Exec(decided, `UPDATE prm_certifications SET revoked_at = ?, revoked_by = ?, revoked_reason = ?,
			ends_at = CASE WHEN from_at > ? THEN from_at ELSE ? END WHERE id = ? AND revoked_at = 0 AND ends_at > ?`,
			now, s.Actor(), reason, now, now, certification, now)
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrBadTransition
		}
		row.RevokedAt, row.RevokedBy, row.RevokedReason = now, s.Actor(), reason
		c = row.public()
		return s.Record(tx, "certification.revoked", certification, "revoked", "revoked_reason")
	})
	if err != nil {
		return Certification{}, err
	}
	return c, nil
}

// about is the call that changes a certification: it is decided on by its partner, which never changes. One that is not there is of none.
func (d *Program) about(ctx context.Context, certification string) (ask Ask, err error) {
	ask = Ask{Action: "program.certify", Target: certification, Changes: true}
	if !store.Plain(certification) {
		return ask, nil
	}
	err = store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
		var of []string
		err := tx.Query(deciding, &of, "SELECT partner_id FROM prm_certifications WHERE id = ?", certification)
		if len(of) > 0 {
			ask.Target = of[0]
		}
		return err
	})
	return ask, err
}

// Certifications pages through those of a partner, newest first, revoked ones too: for the vendor, and for the admins of the partner and of an
// organisation that manages it.
func (d *Program) Certifications(ctx context.Context, id ID, p PageRequest) (page Page[Certification], err error) {
	defer wrap(&err, "certifications of %s", id)
	at, err := p.at("certifications", id)
	if err != nil {
		return page, err
	}
	err = d.reg.Read(ctx, Ask{Action: "program.read", Target: string(id)}, func(tx *store.Tx, s *Standing) error {
		var rows []certificationRow
		q := tx.From(s.scope(false), certificationsTable).Where("partner_id = ?", id)
		err := tx.Find(store.After(q, certificationsTable, "created_at", at.place, at.started, at.limit), &rows)
		page = pageFrom(at, rows, certificationRow.place, certificationRow.public)
		return err
	})
	return page, err
}

// Certified tells whether a partner is certified for a programme at t, "" for any programme, the zero time for now: then what was revoked does not
// count, even if the clock has been set back since. Whoever has a live session may ask about every partner, and learns nothing else; a partner that
// is not there is not certified.
func (d *Program) Certified(ctx context.Context, id ID, programme string, t time.Time) (certified bool, err error) {
	defer wrap(&err, "ask whether a partner is certified")
	var faults checks
	faults.period("t", Period{From: t})
	if err := faults.err(); err != nil {
		return false, err
	}
	err = d.reg.Read(ctx, Ask{Action: "program.certified"}, func(tx *store.Tx, _ *Standing) error {
		if certified = false; !store.Plain(string(id)) || !store.Plain(programme) {
			return nil
		}
		at, query := store.At(t), "SELECT id FROM prm_certifications WHERE partner_id = ? AND (programme = ? OR ? = '') AND from_at <= ? AND ends_at > ?"
		if at == 0 {
			at = tx.Now()
			query += " AND revoked_at = 0"
		}
		// In a host's transaction that reads from a snapshot, the lock makes a revocation since then a conflict.
		query += " LIMIT 1" + tx.Lock(sharing)
		var found []string
		err := tx.Query(anybodys, &found, query, id, programme, programme, at, at)
		certified = len(found) > 0
		return err
	})
	return certified, err
}

// anybodys is the scope of what everybody may know about every partner.
var anybodys = store.Everything("that a partner is certified is for everybody to know")
