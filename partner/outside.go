package partner

import (
	"context"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Outside is a log-in that somebody else has verified, an OpenID provider as a rule. Issuer and Subject name it for ever; it is linked to one
// user: when he accepts his invitation with it ([Acceptance].Outside), by the vendor ([Users.Link]), or by his address, if the host lets it
// (Options.LinkVerifiedEmail).
type Outside struct {
	Issuer, Subject string
	Email           string // helps to link it once
	Verified        bool   // the provider says that Email is his
	Partner         ID     // what the provider claims to be his organisation; may be empty
}

const (
	maxIssuer  = 500
	maxSubject = 255 // OpenID Connect Core 1.0, section 2
)

type outsideRow struct {
	Issuer     string
	Subject    string
	IdentityID string
	CreatedAt  store.Micros `gorm:"autoCreateTime:false"`
}

func (outsideRow) TableName() string { return "prm_outside_logins" }

func (o Outside) check(c *checks, path string) {
	c.text(path+"issuer", o.Issuer, true, maxIssuer)
	c.text(path+"subject", o.Subject, true, maxSubject)
	c.email(path+"email", o.Email, false)
}

var (
	errNoUserOfOurs = fail.New(fail.Forbidden, "no user is linked to this log-in")
	errOtherClaim   = fail.New(fail.Forbidden, "the log-in is claimed for another organisation")
	errNotTheHost   = fail.New(fail.Forbidden, "only the host vouches for log-ins: use AsVendor")
)

// Enter opens a session for a user, or a member of accounts, whom the host has authenticated itself; it needs AsVendor. A log-in that is linked to no user gets none, and
// no user is made. With Options.LinkVerifiedEmail an address that the provider has verified links it, once, to the user who has that address and no
// outside log-in yet, and no member of accounts has proved it; one who was invited joins with that, unless a form is to be answered. [ErrForbidden] if there is no such user, or Partner names
// another organisation than his; *[BlockedError] and [ErrPending] as Login. Not inside a host transaction.
func (d *Access) Enter(ctx context.Context, who Outside) (s Session, err error) {
	defer wrap(&err, "enter")
	if store.Joined(d.reg.db) {
		return s, errInHostTx
	}
	if a, err := actorOf(ctx); err != nil {
		return s, err
	} else if a.host == "" {
		return s, errNotTheHost
	}
	var c checks
	who.check(&c, "")
	if err := c.err(); err != nil {
		return s, err
	}
	var p place
	err = store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
		if p, err = linkedPlace(tx, who); err != nil || p.IdentityID != "" {
			return err
		}
		p, err = d.placeByEmail(tx, who)
		return err
	})
	switch {
	case err != nil:
		return s, err
	case p.IdentityID == "":
		return s, errNoUserOfOurs
	case who.Partner != "" && string(who.Partner) != p.PartnerID:
		return s, errOtherClaim
	}
	secret := newToken(d.reg.db)
	if p.Linked {
		err = store.InTx(ctx, d.reg.db, func(tx *store.Tx) error {
			s, err = d.enterAs(tx, p, secret, false)
			return err
		})
	} else {
		s, err = d.linkAndEnter(ctx, who, p, secret)
	}
	if err != nil {
		return Session{}, err
	}
	return s, nil
}

// place is a user's, with what entering needs of it; of a member of accounts alone it is his log-in.
type place struct {
	UserID, PartnerID, IdentityID string
	InviterOf                     string // organisation of the invitation's sender, if that is another one
	Epoch                         int64
	Invited, Proved, Linked       bool
}

const placeColumns = `SELECT u.id AS user_id, u.partner_id, u.identity_id, i.epoch, u.invited, i.email_verified AS proved,
	COALESCE((SELECT v.partner_id FROM prm_tokens t JOIN prm_users v ON v.id = t.inviter WHERE t.user_id = u.id AND t.state = 'open' AND t.purpose = 'user'
	AND v.partner_id <> u.partner_id), '') AS inviter_of, `

// linkedPlace is the one that a log-in is linked to; empty if there is none.
func linkedPlace(tx *store.Tx, who Outside) (place, error) {
	var list []place
	err := tx.Query(deciding, &list, placeColumns+`TRUE AS linked FROM prm_outside_logins l JOIN prm_identities i ON i.id = l.identity_id
		JOIN prm_users u ON u.identity_id = i.id WHERE l.issuer = ? AND l.subject = ? AND u.ended_at = 0 AND NOT u.invited`, who.Issuer, who.Subject)
	if err == nil && len(list) == 0 { // who is a member of accounts alone
		err = tx.Query(deciding, &list, `SELECT i.id AS identity_id, i.epoch, TRUE AS linked FROM prm_outside_logins l JOIN prm_identities i ON i.id = l.identity_id
			WHERE l.issuer = ? AND l.subject = ? AND NOT EXISTS (SELECT 1 FROM prm_users u WHERE u.identity_id = i.id AND u.ended_at = 0)
			AND EXISTS (SELECT 1 FROM prm_members m WHERE m.identity_id = i.id AND m.state = 'active')`, who.Issuer, who.Subject)
	}
	if err != nil || len(list) == 0 {
		return place{}, err
	}
	return list[0], nil
}

// placeByEmail is the one place that a verified address leads to: whoever has proved it, else the one user who has it, else the one invitee.
func (d *Access) placeByEmail(tx *store.Tx, who Outside) (place, error) {
	if !d.reg.opts.LinkVerifiedEmail || !who.Verified || who.Email == "" {
		return place{}, nil
	}
	var list []place
	c := checks{}
	err := tx.Query(deciding, &list, placeColumns+`EXISTS (SELECT 1 FROM prm_outside_logins l WHERE l.identity_id = i.id) AS linked FROM prm_identities i
		JOIN prm_users u ON u.identity_id = i.id WHERE i.email_key = ? AND u.ended_at = 0 AND NOT u.disabled`, emailKey(c.email("email", who.Email, false)))
	if err != nil {
		return place{}, err
	}
	var others int64 // who is a member of accounts has proved it for himself, and links his log-in when he accepts
	err = tx.Query(deciding, &others, `SELECT count(*) FROM prm_identities i WHERE i.email_key = ? AND i.email_verified
		AND NOT EXISTS (SELECT 1 FROM prm_users u WHERE u.identity_id = i.id AND u.ended_at = 0)`, emailKey(c.email("email", who.Email, false)))
	if err != nil || others > 0 {
		return place{}, err
	}
	for _, fits := range []func(place) bool{
		func(p place) bool { return p.Proved },
		func(p place) bool { return !p.Invited },
		func(p place) bool { return p.Invited && (who.Partner == "" || string(who.Partner) == p.PartnerID) },
	} {
		var found []place
		for _, p := range list {
			if fits(p) {
				found = append(found, p)
			}
		}
		switch {
		case len(found) == 1 && !found[0].Linked: // who has an outside log-in gets a second one from the vendor alone
			return found[0], nil
		case len(found) > 0:
			return place{}, nil
		}
	}
	return place{}, nil
}

// enterAs opens the session, unless something bars the user.
func (d *Access) enterAs(tx *store.Tx, p place, secret string, gated bool) (Session, error) {
	s, barred, err := d.begin(tx, identityRow{ID: p.IdentityID, Kind: "human", Epoch: p.Epoch}, opening{token: secret, gated: gated})
	if err == nil {
		err = barred
	}
	return s, err
}

// linkAndEnter links the log-in first; an invitee joins with it.
func (d *Access) linkAndEnter(ctx context.Context, who Outside, p place, secret string) (s Session, err error) {
	c := checks{}
	ask := Ask{Action: "user.edit", Target: p.PartnerID, Changes: true, address: emailKey(c.email("email", who.Email, false)), also: ID(p.InviterOf)}
	if p.Invited {
		ask.Action = "user.invite"
	}
	err = d.reg.Write(asSystem(ctx), ask, func(tx *store.Tx, st *Standing) error {
		now, err := d.placeByEmail(tx, who)
		if err != nil {
			return err
		}
		if now.UserID != p.UserID || now.Invited != p.Invited || now.InviterOf != p.InviterOf {
			return errChanged
		}
		st.actor, st.User.ID = actor{}, p.UserID
		if now.Invited {
			o, err := offerTo(tx, UserID(p.UserID))
			if err != nil {
				return err
			}
			joined, err := st.join(tx, &o, joining{})
			if err != nil {
				return err
			}
			if err := useToken(tx, &o); err != nil {
				return err
			}
			now.IdentityID, now.Epoch = joined.ID, joined.Epoch
		}
		if err := st.link(tx, p.UserID, now.IdentityID, who); err != nil {
			return err
		}
		s, err = d.enterAs(tx, now, secret, true)
		return err
	})
	return s, err
}

// link writes down whose log-in it is.
func (s *Standing) link(tx *store.Tx, whose, identity string, who Outside) error {
	fresh, err := tx.InsertNew(&outsideRow{Issuer: who.Issuer, Subject: who.Subject, IdentityID: identity, CreatedAt: tx.Now()})
	if err != nil {
		return err
	}
	if !fresh {
		return &ValidationError{Fields: []FieldError{{Path: "subject", Code: "taken", Message: "is linked to a user already"}}}
	}
	return s.Record(tx, "login.linked", whose, "issuer", "subject")
}

// linkOnce is link for one who may have it already.
func (s *Standing) linkOnce(tx *store.Tx, whose, identity string, who Outside) error {
	var has []string
	err := tx.Query(deciding, &has, "SELECT identity_id FROM prm_outside_logins WHERE issuer = ? AND subject = ?", who.Issuer, who.Subject)
	if err != nil || len(has) > 0 && has[0] == identity {
		return err
	}
	return s.link(tx, whose, identity, who)
}

// Link links an outside log-in to a user, who may have several. Vendor only. A field error "subject", "taken", if it is linked already: [Users.Unlink]
// comes first. [ErrBadTransition] for a user who was invited and has not accepted: he links it with his acceptance.
func (d *Users) Link(ctx context.Context, id UserID, who Outside) (err error) {
	defer wrap(&err, "link log-in")
	var c checks
	if who.check(&c, ""); c.err() != nil {
		return c.err()
	}
	return d.change(ctx, "user.link", id, func(tx *store.Tx, s *Standing, u User) error {
		if u.Invited {
			return ErrBadTransition
		}
		var identity string
		if err := tx.Query(decided, &identity, "SELECT identity_id FROM prm_users WHERE id = ?", id); err != nil {
			return err
		}
		return s.link(tx, string(id), identity, who)
	})
}

// Unlink ends an outside log-in of a user and his sessions. Vendor only. [ErrNotFound] if it is not his.
func (d *Users) Unlink(ctx context.Context, id UserID, issuer, subject string) (err error) {
	defer wrap(&err, "unlink log-in")
	return d.change(ctx, "user.link", id, func(tx *store.Tx, s *Standing, _ User) error {
		if !store.Plain(issuer) || !store.Plain(subject) {
			return errNotHere
		}
		n, err := tx.Exec(decided, "DELETE FROM prm_outside_logins WHERE issuer = ? AND subject = ? AND identity_id = (SELECT identity_id FROM prm_users WHERE id = ?)",
			issuer, subject, id)
		if err != nil {
			return err
		}
		if n == 0 {
			return errNotHere
		}
		if err := endSessions(tx, id); err != nil {
			return err
		}
		return s.Record(tx, "login.unlinked", string(id), "issuer", "subject")
	})
}
