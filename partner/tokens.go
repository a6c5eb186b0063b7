package partner

import (
	"cmp"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/form"
	"github.com/partnerkit/partnerkit/internal/store"
)

// What a token is for (PLX-22, PIL-32). It serves its purpose, for its user, while he has the address that it was sent to, once.
const (
	invitesPartner = "partner" // and its first admin
	invitesUser    = "user"
	resetsPassword = "reset"
	invitesMember  = "member"
	opensAccount   = "open"
)

// resetLife is how long a new password can be chosen.
const resetLife = time.Hour

const (
	tokenOpen = "open"
	tokenUsed = "used"
)

type tokenRow struct {
	ID        string
	Purpose   string
	PartnerID string
	UserID    *string
	MemberID  *string
	EmailKey  string
	Inviter   string
	Form      int64   // its version, for who is invited with a partner
	Rights    rights  // flags that the inviter gave
	Delivery  *string // that brings it
	TokenHash string
	State     string
	CreatedAt store.Micros `gorm:"autoCreateTime:false"`
	ExpiresAt store.Micros
	EndedAt   store.Micros
}

func (tokenRow) TableName() string { return tokensTable }

// addressee is whom a token is for.
type addressee struct {
	id            UserID
	email, name   string
	locale        string
	partner       ID
	organisation  string // its name
	partnerLocale string
}

// addressee reads the user of the target's organisation whom a token is to be for.
func (s *Standing) addressee(tx *store.Tx, id UserID) (a addressee, err error) {
	var row struct{ Email, Name, Locale, PartnerID, Organisation, PartnerLocale string }
	err = tx.Query(decided, &row, `SELECT i.email, u.name, u.locale, u.partner_id, p.name AS organisation, p.locale AS partner_locale FROM prm_users u
		JOIN prm_identities i ON i.id = u.identity_id JOIN prm_partners p ON p.id = u.partner_id WHERE u.id = ?`, id)
	return addressee{id, row.Email, row.Name, row.Locale, ID(row.PartnerID), row.Organisation, row.PartnerLocale}, err
}

// issue makes the token of a purpose for a user; the one he had is void. It goes to his address with the event that it belongs to, or is returned
// to a host that delivers tokens itself. To a user without an address nothing can be sent: an admin of the vendor gets the token instead, and
// anybody else a field error (PAN-06).
func (s *Standing) issue(tx *store.Tx, purpose, template string, id UserID, e eventRow) (Secret, error) {
	to, err := s.addressee(tx, id)
	if err != nil {
		return "", err
	}
	returned := s.reg.opts.DeliverTokens
	if !returned && to.email == "" {
		if !s.IsVendor() || s.actor.host == "" && !s.isAdmin() {
			return "", errUndeliverable()
		}
		returned = true
	}
	if err := s.notTooMany(tx, id); err != nil {
		return "", err
	}
	if err := voidTokens(tx, id, "", purpose); err != nil {
		return "", err
	}
	life := s.reg.opts.InvitationLife
	if purpose == resetsPassword {
		life = resetLife
	}
	version := int64(0)
	if purpose == invitesPartner {
		if version, _, err = form.Latest(tx, partnerForm); err != nil {
			return "", err
		}
	}
	token := newToken(s.reg.db)
	row := tokenRow{ID: tx.NewID("tok"), Purpose: purpose, PartnerID: string(to.partner), UserID: optional(id), EmailKey: emailKey(to.email), Inviter: s.name(),
		Form: version, TokenHash: digest(token), State: tokenOpen, CreatedAt: tx.Now(), ExpiresAt: tx.Now().Add(life)}
	if err := tx.Query(decided, &row.Rights, "SELECT rights FROM prm_users WHERE id = ?", id); err != nil {
		return "", err
	}
	row.Rights &= rightFlags
	if !returned {
		delivery := tx.NewID("dlv")
		row.Delivery = &delivery
	}
	if err := tx.Insert(&row); taken(err) { // another was first, which a snapshot does not see
		return "", store.ErrAgain
	} else if err != nil {
		return "", err
	}
	if returned {
		return Secret(token), nil
	}
	return "", s.deliver(tx, e, letter{id: *row.Delivery, expires: row.ExpiresAt, template: template, To: to.email, Locale: cmp.Or(to.locale, to.partnerLocale), Token: token,
		Data: map[string]string{wordName: to.name, wordPartner: to.organisation, wordUntil: until(row.ExpiresAt)}})
}

// lettersPerHour bounds the tokens that one person is sent; the host sends as many as it likes.
const lettersPerHour = 5

func (s *Standing) notTooMany(tx *store.Tx, id UserID) error {
	if s.actor.host != "" {
		return nil
	}
	return tooMany(tx, id)
}

func tooMany(tx *store.Tx, id UserID) error {
	var n int64
	err := tx.Query(decided, &n, "SELECT count(*) FROM prm_tokens WHERE user_id = ? AND created_at > ?", id, tx.Now().Add(-time.Hour))
	if err == nil && n >= lettersPerHour {
		err = errTooManyLetters
	}
	return err
}

var errTooManyLetters = fail.New(fail.Unavailable, "too many letters to this person: try again in an hour")

// errUndeliverable is the fault of a person to whom no mail can be sent.
func errUndeliverable() *ValidationError {
	return &ValidationError{Fields: []FieldError{{Path: "contact.email", Code: "required", Message: "has no e-mail address to send a token to"}}}
}

// voidTokens ends the open tokens of a purpose of a user or of a member, the other being empty; "" is all of them. The letters that bring them and wait are
// not sent.
func voidTokens(tx *store.Tx, user UserID, member MemberID, purpose string) error {
	const theirs = "(user_id = ? OR member_id = ?) AND (? = '' OR purpose = ?) AND state = 'open'"
	_, err := tx.Exec(decided, "DELETE FROM prm_deliveries WHERE state IN ('ready', 'dead') AND id IN (SELECT delivery FROM prm_tokens WHERE "+theirs+")",
		user, member, purpose, purpose)
	if err != nil {
		return err
	}
	_, err = tx.Exec(decided, "UPDATE prm_tokens SET state = 'void', ended_at = ? WHERE "+theirs, tx.Now(), user, member, purpose, purpose)
	return err
}

// voidResets ends the open tokens with which a person would choose a new password, whoever has had them sent.
func voidResets(tx *store.Tx, identity string) error {
	const his = `purpose = 'reset' AND state = 'open' AND (user_id IN (SELECT id FROM prm_users WHERE identity_id = ?)
		OR member_id IN (SELECT id FROM prm_members WHERE identity_id = ?))`
	_, err := tx.Exec(decided, "DELETE FROM prm_deliveries WHERE state IN ('ready', 'dead') AND id IN (SELECT delivery FROM prm_tokens WHERE "+his+")", identity, identity)
	if err != nil {
		return err
	}
	_, err = tx.Exec(decided, "UPDATE prm_tokens SET state = 'void', ended_at = ? WHERE "+his, tx.Now(), identity, identity)
	return err
}

// offer is a token with what it stands for.
type offer struct {
	ID          string // of the token
	Purpose     string
	PartnerID   string
	UserID      string // whose it is, or
	MemberID    string // whose
	AccountID   string // of that member
	Account     string // its name
	AccountType string
	Kind        string // of that member
	MemberState string
	EmailKey    string // that it was sent to
	Inviter     string
	InviterOf   string // his organisation; empty for the host
	Rights      rights // flags that he gave
	FormVersion int64
	Schema      string // of the form; empty if there is none to answer
	State       string
	ExpiresAt   store.Micros
	IdentityID  string
	Login       string
	Email       string
	Epoch       int64
	Name        string // of the user
	Role        string
	Locale      string
	EndedPlace  bool
	PartnerPath string
	Partner     string // its name
	NowEmailKey string
}

var errNoToken = fail.New(fail.NotFound, "there is no such token")

// readOffer finds what a token stands for. lock keeps it until the transaction ends.
func readOffer(tx *store.Tx, token Secret, lock string) (o offer, err error) {
	const longest = 64 // ours have 43 characters
	if len(token) > longest {
		return o, errNoToken
	}
	var list []offer
	if err := tx.Query(deciding, &list, offers+"t.token_hash = ?"+tx.Lock(lock), digest(string(token))); err != nil {
		return o, err
	}
	return oneOffer(tx, list)
}

// offerTo is the invitation that a user has not accepted yet, if it still serves.
func offerTo(tx *store.Tx, user UserID) (o offer, err error) {
	var list []offer
	err = tx.Query(deciding, &list, offers+"t.user_id = ? AND t.purpose = 'user' AND t.state = 'open'"+tx.Lock("UPDATE OF t"), user)
	if err != nil {
		return o, err
	}
	return oneOffer(tx, list)
}

const offers = `SELECT t.id, t.purpose, t.partner_id, COALESCE(t.user_id, '') AS user_id, COALESCE(t.member_id, '') AS member_id, t.email_key, t.inviter,
	COALESCE(m.account_id, '') AS account_id, COALESCE(a.name, '') AS account, COALESCE(a.type, '') AS account_type, COALESCE(m.kind, '') AS kind,
	COALESCE(m.state, '') AS member_state, COALESCE(v.partner_id, '') AS inviter_of, t.rights,
	t.form AS form_version, COALESCE(f.schema, '') AS schema, t.state, t.expires_at, COALESCE(i.id, '') AS identity_id, COALESCE(i.login, '') AS login,
	COALESCE(i.email, m.email) AS email, COALESCE(i.email_key, m.email_key) AS now_email_key, COALESCE(i.epoch, 0) AS epoch,
	COALESCE(u.name, m.name) AS name, COALESCE(u.role, '') AS role, COALESCE(u.locale, m.locale) AS locale,
	COALESCE(u.ended_at <> 0, m.state IN ('lapsed', 'removed')) AS ended_place, p.path AS partner_path, p.name AS partner FROM prm_tokens t
	LEFT JOIN prm_users u ON u.id = t.user_id LEFT JOIN prm_members m ON m.id = t.member_id LEFT JOIN prm_accounts a ON a.id = m.account_id
	LEFT JOIN prm_identities i ON i.id = COALESCE(u.identity_id, m.identity_id) JOIN prm_partners p ON p.id = t.partner_id
	LEFT JOIN prm_users v ON v.id = t.inviter LEFT JOIN prm_forms f ON f.kind = 'partner' AND f.version = t.form WHERE `

func oneOffer(tx *store.Tx, list []offer) (offer, error) {
	if len(list) == 0 {
		return offer{}, errNoToken
	}
	return list[0], list[0].good(tx.Now())
}

// good tells whether the token still serves.
func (o *offer) good(now store.Micros) error {
	switch {
	case o.State == tokenUsed:
		return ErrTokenUsed
	case o.State != tokenOpen, now >= o.ExpiresAt, o.EndedPlace, o.EmailKey != o.NowEmailKey:
		return ErrTokenExpired
	}
	return nil
}

// inviterMay looks whether whoever sent an invitation may still do so, and give what he gave; the host always may. His organisation's gate has been
// passed.
func (o *offer) inviterMay(tx *store.Tx) error {
	if strings.HasPrefix(o.Inviter, "host:") {
		return nil
	}
	var list []struct {
		PartnerID, Path    string
		ManagesSubPartners bool
		Rights             rights
	}
	err := tx.Query(deciding, &list, `SELECT u.partner_id, p.path, p.manages_sub_partners, u.rights FROM prm_users u JOIN prm_partners p ON p.id = u.partner_id
		WHERE u.id = ? AND u.role = 'admin' AND NOT u.disabled AND u.ended_at = 0 AND p.state = 'active' AND p.own_blocks = 0 AND p.own_inherited = 0`, o.Inviter)
	if err != nil {
		return err
	}
	for _, p := range list {
		if p.PartnerID == string(Vendor) {
			return nil
		}
		if o.Rights&^p.Rights != 0 {
			continue // he could not give them now
		}
		if p.PartnerID == o.PartnerID || p.ManagesSubPartners && strings.HasPrefix(o.PartnerPath, p.Path) {
			return nil
		}
	}
	return errInviterGone
}

var errInviterGone = fail.New(fail.Forbidden, "whoever sent the invitation may not invite any more")
