package partner

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/partnerkit/partnerkit/internal/ledger"
	"github.com/partnerkit/partnerkit/internal/store"
)

// MemberKind says what a member of an account is.
type MemberKind string

// Kinds of members. All but Special are invited by mail, and log in themselves.
const (
	Employee     MemberKind = "employee"
	Special      MemberKind = "special"      // a name without a log-in: the account's owner acts as him ([Access.ActAs])
	External     MemberKind = "external"     // somebody from elsewhere, in one role
	Collaborator MemberKind = "collaborator" // a partner's user, of another one as a rule; takes no paid seat
	Guest        MemberKind = "guest"        // of a project: in the role "viewer", "contributor" or "administrator"
)

var memberKinds = []MemberKind{Employee, Special, External, Collaborator, Guest}

// Roles of a project's members.
const (
	roleViewer        = "viewer"
	roleContributor   = "contributor"
	roleAdministrator = "administrator"
)

// NewMember is what AddMember needs: Name of a Special, Email of all others.
type NewMember struct {
	Kind  MemberKind // never changes
	Name  string     // whoever is invited may write it himself when he accepts
	Email string     // where the invitation goes; of a Special for information only, and optional. One of an account in all its members
	Roles []string   // up to 10 of the host's words, each of at most 50 characters: exactly one for an External, and for a Guest one of those of a project

	Locale string // BCP 47, of the invitation

	// Key makes AddMember idempotent: the same key and content returns the first result. Without one, a key is made; what AddMember returns carries
	// it.
	Key string
}

// MemberInfo is a member of an account; an edit names its Version.
type MemberInfo struct {
	ID          MemberID
	Account     AccountID
	AccountName string
	State       string // "invited", "lapsed" (he did not accept in time, or whoever invited him no longer may), "active", "inactive", "removed"
	Version     int64
	Created     time.Time
	Until       time.Time // when an invitation runs out
	NewMember             // as it stands; Key only in what AddMember returns
	// Replayed tells that AddMember saw the key before: this is whom it added then, as he stands now.
	Replayed bool
	// Token is the invitation's, only in what AddMember and ReinviteMember return, and only with Options.DeliverTokens.
	Token Secret
}

// States of members.
const (
	memberInvited  = "invited"
	memberLapsed   = "lapsed"
	memberActive   = "active"
	memberInactive = "inactive"
	memberRemoved  = "removed"
)

type memberRow struct {
	ID         string
	PartnerID  string // the account's
	AccountID  string
	Kind       string
	IdentityID *string // of who has accepted
	Name       string
	Email      string
	EmailKey   string
	Locale     string
	Roles      string // see rolesText
	State      string
	Version    int64
	DueAt      store.Micros // when the invitation runs out
	EnteredAt  store.Micros
	CreatedAt  store.Micros `gorm:"autoCreateTime:false"`
}

func (memberRow) TableName() string { return membersTable }

func (r memberRow) place() store.Place { return store.Place{At: r.CreatedAt, ID: r.ID} }

// standing is the state at an instant: an invitation that has run out has, whether or not it was written down.
func (r memberRow) standing(now store.Micros) string {
	if r.State == memberInvited && now >= r.DueAt {
		return memberLapsed
	}
	return r.State
}

func (r memberRow) public(now store.Micros) MemberInfo {
	m := MemberInfo{ID: MemberID(r.ID), Account: AccountID(r.AccountID), State: r.standing(now), Version: r.Version, Created: r.CreatedAt.Time(),
		NewMember: NewMember{Kind: MemberKind(r.Kind), Name: r.Name, Email: r.Email, Roles: rolesOf(r.Roles), Locale: r.Locale}}
	if m.State == memberInvited {
		m.Until = r.DueAt.Time()
	}
	return m
}

// check looks at the fields that an edit changes, too.
func (m NewMember) check() (faults *checks, email string) {
	c := &checks{}
	if !slices.Contains(memberKinds, m.Kind) {
		c.add("kind", "unknown_code", "must be one of employee, special, external, collaborator, guest", ErrUnknownCode)
	}
	c.text("name", m.Name, m.Kind == Special, maxName)
	email = c.email("email", m.Email, m.Kind != Special)
	if email != "" && m.Kind != Special && m.Kind != Collaborator { // who accepts logs in by it
		var name checks
		if name.login("email", email, email); len(name.fields) > 0 {
			c.add("email", "format", "must be an address that can be a log-in name", nil)
		}
	}
	c.locale("locale", m.Locale)
	c.key("key", m.Key)
	if len(m.Roles) > 0 {
		c.roles("roles", m.Roles)
	}
	switch {
	case m.Kind == External && len(m.Roles) != 1:
		c.add("roles", "required", "must be one role", nil)
	case m.Kind == Guest && (len(m.Roles) != 1 || !slices.Contains([]string{roleViewer, roleContributor, roleAdministrator}, m.Roles[0])):
		c.add("roles", "unknown_code", "must be viewer, contributor or administrator", ErrUnknownCode)
	}
	return c, email
}

// digest is to a member what agreementDigest is to an agreement.
func (m NewMember) digest(account AccountID) string {
	c := content{}
	c.add("account", string(account))
	c.add("kind", string(m.Kind))
	c.add("name", m.Name)
	c.add("email", m.Email)
	c.add("roles", rolesText(m.Roles))
	c.add("locale", m.Locale)
	return c.digest()
}

// AddMember adds a member to an account: a special employee at once, everybody else by an invitation that he accepts ([Access.Accept]) within
// Options.InvitationLife. Only the account's owner ([ErrNotOwner]).
//
// *[ValidationError] with every failing field, "taken" for an address that a member of the account has; *[QuotaError] past what the account's type has
// room for; [ErrNotCertified] for the address of a collaborator, known or not, where his partner must be certified; *[BlockedError] while nobody may
// enter the account; [ErrUnavailable] after five invitations to one address within an hour.
func (d *Accounts) AddMember(ctx context.Context, id AccountID, m NewMember) (made MemberInfo, err error) {
	defer wrap(&err, "add member to %s", id)
	faults, email := m.check()
	if err := faults.err(); err != nil {
		return made, err
	}
	ask := Ask{Action: "member.add", Target: string(id), Keyed: m.Key != ""}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		fresh, key := tx.NewID("mem"), m.Key
		var token Secret
		member, replayed, err := once(tx, s.Of(), ask.Action, &key, m.digest(id), fresh, func() error {
			if err := s.Refusal(); err != nil {
				return err
			}
			var err error
			token, err = s.addMember(tx, fresh, m, email)
			return err
		})
		if err != nil {
			return err
		}
		made, err = s.member(tx, MemberID(member))
		made.Key, made.Replayed, made.Token = key, replayed, token
		return err
	})
	if err != nil {
		if errors.Is(err, ErrNotCertified) { // what it tells of an address is counted, as taken names are
			err = d.reg.countTaken(ctx, err)
		}
		return MemberInfo{NewMember: NewMember{Key: keyToRepeat(err, made.Key)}}, err
	}
	return made, nil
}

func (s *Standing) addMember(tx *store.Tx, id string, m NewMember, email string) (token Secret, err error) {
	t, err := typeOf(tx, s.Account.Type, sharing)
	if err != nil {
		return "", err
	}
	if m.Kind == Collaborator && t.CertifiedOnly {
		if err := s.certifiedAddress(tx, email); err != nil {
			return "", err
		}
	}
	account := AccountID(s.Account.ID)
	if err := s.lapse(tx, account, tx.Now(), ledger.System); err != nil { // their places are free even where no worker runs
		return "", err
	}
	if err := takePlace(tx, s.Of(), account, m.Kind, t.public().Quota.of(m.Kind)); err != nil {
		return "", err
	}
	row := memberRow{ID: id, PartnerID: s.Holder.ID, AccountID: s.Account.ID, Kind: string(m.Kind), Name: m.Name, Email: email, EmailKey: emailKey(email),
		Locale: m.Locale, Roles: rolesText(m.Roles), State: memberActive, Version: 1, CreatedAt: tx.Now()}
	kind := "member.added"
	if m.Kind != Special {
		row.State, row.DueAt, kind = memberInvited, tx.Now().Add(s.reg.opts.InvitationLife), "member.invited"
	}
	if fresh, err := tx.InsertNew(&row); err != nil {
		return "", err
	} else if !fresh {
		return "", errAddressTaken()
	}
	e, err := s.record(tx, kind, id, nil)
	if err != nil || m.Kind == Special {
		return "", err
	}
	return s.issueToMember(tx, invitesMember, templateInvitation, row, e)
}

func errAddressTaken() *ValidationError {
	return &ValidationError{Fields: []FieldError{{Path: "email", Code: "taken", Message: "another member of the account has it"}}}
}

// certifiedAddress refuses an address that no user of a certified partner has.
func (s *Standing) certifiedAddress(tx *store.Tx, email string) error {
	if err := s.mayAskForNames(tx); err != nil {
		return err
	}
	var partners []string
	err := tx.Query(decided, &partners, `SELECT DISTINCT u.partner_id FROM prm_users u JOIN prm_identities i ON i.id = u.identity_id WHERE i.email_key = ?
		AND NOT u.disabled AND NOT u.invited AND u.ended_at = 0 ORDER BY u.partner_id`, emailKey(email))
	if err != nil {
		return err
	}
	for _, p := range partners {
		if err := certified(tx, p); !errors.Is(err, ErrNotCertified) {
			return err
		}
	}
	return ErrNotCertified
}

// lapse ends the invitations to an account that run out by an instant: their places are free.
func (s *Standing) lapse(tx *store.Tx, account AccountID, by store.Micros, who string) error {
	var list []memberRow
	err := tx.Query(decided, &list, `UPDATE prm_members SET state = 'lapsed', version = version + 1 WHERE account_id = ? AND state = 'invited' AND due_at <= ?
		RETURNING id, partner_id, account_id, kind`, account, by)
	if err != nil {
		return err
	}
	for _, m := range list {
		if err := voidTokens(tx, "", MemberID(m.ID), invitesMember); err != nil {
			return err
		}
		if err := givePlace(tx, m); err != nil {
			return err
		}
		if err := noteMember(tx, who, "member.lapsed", m); err != nil {
			return err
		}
	}
	return nil
}

// noteMember writes the audit row of what has become of a member without his account's owner.
func noteMember(tx *store.Tx, who, kind string, m memberRow) error {
	return tx.Insert(&eventRow{ID: tx.NewID("evt"), At: tx.Now(), Kind: kind, Actor: who, Subject: who, PartnerID: m.PartnerID, AccountID: &m.AccountID,
		Target: m.ID, Changed: "state"})
}

// Member returns one member of an account; for those who see Members.
func (d *Accounts) Member(ctx context.Context, id MemberID) (m MemberInfo, err error) {
	defer wrap(&err, "get member")
	ask, err := d.reg.aboutMember(ctx, "member.list", id)
	if err != nil {
		return m, err
	}
	err = d.reg.Read(ctx, ask, func(tx *store.Tx, s *Standing) error {
		m, err = s.member(tx, id)
		return err
	})
	return m, err
}

// Members pages through an account's members, newest first, those who have left too: for users of its partner who see the account, for a project's own
// log-in, and for the vendor and its support.
func (d *Accounts) Members(ctx context.Context, id AccountID, p PageRequest) (page Page[MemberInfo], err error) {
	defer wrap(&err, "list members of %s", id)
	at, err := p.at("members", id)
	if err != nil {
		return page, err
	}
	err = d.reg.Read(ctx, Ask{Action: "member.list", Target: string(id)}, func(tx *store.Tx, s *Standing) error {
		var rows []memberRow
		q := tx.From(s.scope(false), membersTable).Where("account_id = ?", id)
		if err := tx.Find(store.After(q, membersTable, "created_at", at.place, at.started, at.limit), &rows); err != nil {
			return err
		}
		names, err := accountNames(tx, rows)
		page = pageFrom(at, rows, memberRow.place, func(r memberRow) MemberInfo { return r.named(tx.Now(), names) })
		return err
	})
	return page, err
}

// member reads one of an account that the actor sees.
func (s *Standing) member(tx *store.Tx, id MemberID) (MemberInfo, error) {
	row, err := s.memberRow(tx, id)
	if err != nil {
		return MemberInfo{}, err
	}
	names, err := accountNames(tx, []memberRow{row})
	return row.named(tx.Now(), names), err
}

func (s *Standing) memberRow(tx *store.Tx, id MemberID) (row memberRow, err error) {
	err = tx.Take(tx.From(s.scope(false), membersTable).Where("id = ?", id), &row, "")
	return row, err
}

func (r memberRow) named(now store.Micros, names map[string]string) MemberInfo {
	m := r.public(now)
	m.AccountName = names[r.AccountID]
	return m
}

// accountNames are those of the accounts of rows that were read in scope.
func accountNames(tx *store.Tx, rows []memberRow) (map[string]string, error) {
	ids := set{}
	for _, r := range rows {
		ids.add(r.AccountID)
	}
	names := make(map[string]string, len(ids))
	if len(ids) == 0 {
		return names, nil
	}
	var found []struct{ ID, Name string }
	err := tx.Query(decided, &found, "SELECT id, name FROM prm_accounts WHERE id IN ?", slices.Sorted(maps.Keys(ids)))
	for _, a := range found {
		names[a.ID] = a.Name
	}
	return names, err
}

// aboutMember is the call about a member: it is decided on by his account, which never changes. One who is not there is of none.
func (r *Registry) aboutMember(ctx context.Context, action string, id MemberID) (ask Ask, err error) {
	ask = Ask{Action: action, Target: cmp.Or(string(id), "mem_none")}
	if !store.Plain(string(id)) {
		return ask, nil
	}
	err = store.Read(ctx, r.db, func(tx *store.Tx) error {
		var of []struct{ AccountID, Person string }
		err := tx.Query(deciding, &of, "SELECT account_id, COALESCE(identity_id, '') AS person FROM prm_members WHERE id = ?", id)
		if len(of) > 0 {
			ask.Target, ask.person = of[0].AccountID, of[0].Person
		}
		return err
	})
	return ask, err
}
