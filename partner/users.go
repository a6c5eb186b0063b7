package partner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/store"
)

// Users is the desk of people: a partner's admins work on their own organisation and on those that it manages, the vendor on all, its own
// ([Vendor]) among them.
type Users struct{ reg *Registry }

// NewUser is what Add needs: Email, Name and Role; Login as well with a Password.
type NewUser struct {
	Email  string // the user's for certain once he has accepted an invitation sent to it
	Name   string
	Login  string // unique over all log-ins of the installation, never changes. Defaults to the address for one who is invited.
	Phone  string // kept as E.164
	Locale string // BCP 47

	Role   Role    // of a partner: Admin or Member; of the vendor: Admin, Reviewer, Finance or Support
	Rights []Right // of a member; of an admin the flags, which only the vendor gives
	Scope  Scope   // of a member

	Password Secret // under the organisation's policy; empty: he is invited, and chooses it himself

	// Key makes Add idempotent: the same key and content returns the first result. The password is not compared. Without one, a key is made;
	// what Add returns carries it.
	Key string

	prepared *preparedUser
}

// User is a person's place in one organisation; an edit names its Version.
type User struct {
	ID      UserID
	Partner ID
	Active  bool // neither disabled nor gone
	Invited bool // and has not accepted yet: nobody can log in as him
	Contact bool // the organisation's primary contact
	Version int64
	Created time.Time
	NewUser // as it stands; Password is always empty, Key too but in what Add returns
	// Replayed tells that Add saw the key before: this is whom it added then, as he stands now.
	Replayed bool
	// Token is the invitation's, only in what Add returns, and only with Options.DeliverTokens.
	Token Secret

	left bool
}

// preparedUser is what had to be computed outside a transaction, and the digest of the input it was computed from.
type preparedUser struct {
	of           ID // whose rules it was held to
	digest       string
	passwordHash string
	email        string
	phone        string
}

// Add adds a user to a partner, or to the vendor. Without a password he is invited: he is sent a token, and can log in once he has chosen a
// password with it ([Access.Accept]); it runs out with Options.InvitationLife, and [Access.Reinvite] sends another. A password is for an admin of
// the organisation itself to give, or for the vendor.
//
// *[ValidationError] with every failing field: "taken" for the log-in name, or for an e-mail address that another user has; for the vendor, if that
// one is of another partner, [ErrEmailInOtherPartner]. A partner's invitation tells nothing of other partners: whose the address is, is seen when
// it is accepted. [ErrForbidden] for a right that the caller cannot give: nobody gives one that he lacks. *[BlockedError] and [ErrPending] for an
// organisation in which nobody can begin. Not inside a host transaction above READ COMMITTED, which would not see whose an address has become.
func (d *Users) Add(ctx context.Context, org ID, u NewUser) (user User, err error) {
	defer wrap(&err, "add user")
	ask := Ask{Action: u.action(), Target: string(org), Changes: true, Keyed: u.Key != ""}
	hash := userDigest(u, false)
	found, err := d.reg.repeated(ctx, ask, "user.add", u.Key, hash, func(tx *store.Tx, s *Standing, id string) error {
		user, err = s.anyUser(tx, UserID(id))
		user.Key, user.Replayed = u.Key, true
		return err
	})
	if found || err != nil {
		return user, err
	}
	if u, err = d.reg.readyUser(ctx, org, u); err != nil {
		return user, d.reg.slowDownIfTaken(ctx, d.withMore(ctx, ask, d.reg.withTaken(ctx, ask, err, u.Login, ""), u))
	}
	ask.address = emailKey(u.prepared.email)
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		fresh, key := tx.NewID("usr"), u.Key
		var token Secret
		id, replayed, err := once(tx, s.Of(), "user.add", &key, hash, fresh, func() error {
			if err := s.Refusal(); err != nil {
				return err
			}
			var err error
			token, err = s.insertUser(tx, UserID(fresh), u)
			return err
		})
		if err != nil {
			return err
		}
		user, err = s.anyUser(tx, UserID(id))
		user.Key, user.Replayed, user.Token = key, replayed, token
		return err
	})
	if err != nil {
		return User{NewUser: NewUser{Key: keyToRepeat(err, user.Key)}}, d.reg.slowDownIfTaken(ctx, err)
	}
	return user, nil
}

// action is what adding the user is: nobody chooses a password from above, but he may invite.
func (u NewUser) action() string {
	if u.Password == "" {
		return "user.invite"
	}
	return "user.add"
}

// Prepare does what Add must do outside a transaction: host callbacks and hashing. It returns the user to pass to Add on the Registry that In
// gives; changing it afterwards makes that call refuse. It is for those who may add the user. One who is invited needs it only for a phone number that
// Options.Phones reads.
func (d *Users) Prepare(ctx context.Context, org ID, u NewUser) (prepared NewUser, err error) {
	defer wrap(&err, "prepare user")
	if store.Joined(d.reg.db) {
		return u, errInHostTx
	}
	return d.reg.prepareUser(ctx, org, u)
}

// withMore completes a ValidationError with what only the database knows of the address and the scope.
func (d *Users) withMore(ctx context.Context, ask Ask, err error, u NewUser) error {
	var v *ValidationError
	if !errors.As(err, &v) {
		return err
	}
	c := checks{fields: slices.Clone(v.Fields)}
	if _, faulty := v.Field("email"); faulty {
		u.Email = ""
	}
	if _, faulty := v.Field("scope"); faulty {
		u.Scope = Scope{}
	}
	denied := d.reg.Read(ctx, ask, func(tx *store.Tx, s *Standing) error {
		if err := s.noteAddress(tx, &c, "", strings.TrimSpace(u.Email), u.Password == ""); err != nil && !errors.Is(err, ErrEmailInOtherPartner) {
			return err
		}
		return s.noteScope(tx, &c, u.Scope, Scope{})
	})
	if denied != nil {
		return denied
	}
	return c.err()
}

func (r *Registry) readyUser(ctx context.Context, org ID, u NewUser) (NewUser, error) {
	switch {
	case u.prepared != nil:
		if u.prepared.of != org || u.prepared.digest != userDigest(u, true) {
			return u, errUnprepared
		}
		return u, nil
	case store.Joined(r.db) && (u.Password != "" || u.Phone != "" && r.opts.Phones != nil):
		return u, errUnprepared
	}
	return r.prepareUser(ctx, org, u)
}

func (r *Registry) prepareUser(ctx context.Context, org ID, u NewUser) (NewUser, error) {
	u.prepared = nil
	rules, err := r.rulesFor(ctx, Ask{Action: u.action(), Target: string(org), Keyed: u.Key != ""}, u.Name, u.Login, u.Email)
	if err != nil {
		return u, err
	}
	ready := preparedUser{of: org}
	c := r.opts.checkUser(u, org, true, &ready)
	switch {
	case u.Password != "":
		c.login("login", u.Login, "")
		c.password("password", u.Password, rules)
	case u.Login != "":
		c.login("login", u.Login, ready.email)
	case ready.email != "":
		if c.login("login", ready.email, ready.email); len(c.fields) > 0 {
			c.add("login", "required", "must be given: the address cannot be one", nil)
		}
	}
	c.key("key", u.Key)
	if err := c.err(); err != nil {
		return u, err
	}
	if u.Password == "" {
		ready.digest = userDigest(u, true)
		u.prepared = &ready
		return u, nil
	}
	if ready.passwordHash, err = r.hash(ctx, u.Password); err != nil {
		return u, err
	}
	ready.digest = userDigest(u, true)
	u.prepared = &ready
	return u, nil
}

// checkUser checks what can be edited of a user, too.
func (o Options) checkUser(u NewUser, org ID, mustHaveEmail bool, ready *preparedUser) *checks {
	c := &checks{}
	ready.email = c.email("email", u.Email, mustHaveEmail)
	c.text("name", u.Name, true, maxName)
	ready.phone = c.phone("phone", u.Phone, "", o.Phones)
	c.locale("locale", u.Locale)
	c.role(u.Role, org)
	for i, right := range u.Rights {
		path := fmt.Sprintf("rights[%d]", i)
		switch {
		case !slices.Contains(allRights, right):
			c.add(path, "unknown_code", "is no right", ErrUnknownCode)
		case org == Vendor || u.Role == Admin && !rightFlags.has(right):
			c.add(path, "format", "is for members: what others may do, their role says", nil)
		}
	}
	switch n := len(u.Scope.Accounts); {
	case n == 0 && u.Scope.Accounts == nil:
	case n > maxScope:
		c.add("scope", "too_long", fmt.Sprintf("must be at most %d accounts", maxScope), nil)
	case u.Role != Member:
		c.add("scope", "format", "is for members: others are not limited to some accounts", nil)
	}
	return c
}

// maxScope bounds the accounts that a user is limited to: they are read with each of his calls.
const maxScope = 500

func (c *checks) role(role Role, org ID) {
	known := []Role{Admin, Member}
	if org == Vendor {
		known = []Role{Admin, Reviewer, Finance, Support}
	}
	switch {
	case role == "":
		c.add("role", "required", "must not be empty", nil)
	case !slices.Contains(known, role):
		c.add("role", "unknown_code", fmt.Sprintf("must be one of %v", known), ErrUnknownCode)
	}
}

// userDigest is to a user what agreementDigest is to an agreement.
func userDigest(u NewUser, withPassword bool) string {
	c := content{}
	c.add("email", u.Email)
	c.add("name", u.Name)
	c.add("login", u.Login)
	c.add("phone", u.Phone)
	c.add("locale", u.Locale)
	c.add("role", string(u.Role))
	c.number("rights", int64(rightsOf(u.Rights...)))
	c.add("scope", scopeText(u.Scope))
	if u.Password == "" {
		c.add("invited", "true")
	}
	if withPassword {
		c.add("password", digest(string(u.Password)))
		c.add("key", u.Key)
	}
	return c.digest()
}

// insertUser writes the rows of a new user; token is an invitation's, if the host delivers tokens.
func (s *Standing) insertUser(tx *store.Tx, id UserID, u NewUser) (token Secret, err error) {
	if tx.Frozen() {
		return "", errFrozen
	}
	if err := s.mayGive(u.Role, 0, rightsOf(u.Rights...)); err != nil {
		return "", err
	}
	invited := u.Password == ""
	login := u.Login
	if login == "" {
		login = u.prepared.email
	}
	// An address is the log-in name of whoever proves it first.
	reserved := !invited || loginKey(login) != loginKey(u.prepared.email)
	var c checks
	if reserved {
		if err := s.noteTaken(tx, &c, login, ""); err != nil {
			return "", err
		}
	}
	if err := s.noteAddress(tx, &c, "", u.prepared.email, invited); err != nil {
		return "", err
	}
	if err := s.noteScope(tx, &c, u.Scope, Scope{}); err != nil {
		return "", err
	}
	if err := c.err(); err != nil {
		return "", err
	}
	identity := identityRow{ID: tx.NewID("idn"), Kind: "human", Login: login, Email: u.prepared.email, EmailKey: emailKey(u.prepared.email),
		PasswordHash: u.prepared.passwordHash, Version: 1, CreatedAt: tx.Now()}
	if key := loginKey(login); reserved {
		identity.LoginKey = &key
	}
	if fresh, err := tx.InsertNew(&identity); err != nil {
		return "", err
	} else if !fresh {
		return "", errLoginTaken()
	}
	row := userRow{ID: string(id), IdentityID: identity.ID, PartnerID: string(s.Of()), Name: u.Name, Role: string(u.Role), Rights: rightsOf(u.Rights...),
		Scope: scopeText(u.Scope), Phone: u.prepared.phone, Locale: u.Locale, Invited: invited, Version: 1, CreatedAt: tx.Now()}
	if err := tx.Insert(&row); err != nil {
		return "", err
	}
	if !invited {
		if err := s.reg.keepShown(tx, id, u.Password); err != nil {
			return "", err
		}
		return "", s.Record(tx, "user.added", string(id))
	}
	event, err := s.record(tx, "user.invited", string(id), nil)
	if err != nil {
		return "", err
	}
	return s.issue(tx, invitesUser, templateWelcome, id, event)
}

// Get returns one user: of an organisation that the caller sees to, or himself.
func (d *Users) Get(ctx context.Context, id UserID) (u User, err error) {
	defer wrap(&err, "get user")
	read := func(tx *store.Tx, s *Standing) error {
		u, err = s.user(tx, id)
		return err
	}
	own := false
	err = d.reg.Read(ctx, Ask{Action: "access.session"}, func(tx *store.Tx, s *Standing) error {
		if own = s.User.ID == string(id); own {
			return read(tx, s)
		}
		return nil
	})
	if own || err != nil && !errors.Is(err, errNotAllowed) {
		return u, err
	}
	ask, err := d.about(ctx, "user.read", id)
	if err != nil {
		return u, err
	}
	err = d.reg.Read(ctx, ask, read)
	return u, err
}

// List pages through an organisation's users, newest first, those who have left it left out; "" is the caller's own.
func (d *Users) List(ctx context.Context, org ID, p PageRequest) (page Page[User], err error) {
	defer wrap(&err, "list users of %s", cmp.Or(org, "the own organisation"))
	at, err := p.at("users", org)
	if err != nil {
		return page, err
	}
	err = d.reg.Read(ctx, Ask{Action: "user.list", Target: string(org)}, func(tx *store.Tx, s *Standing) error {
		var rows []userRow
		q := tx.From(store.OfPartner(string(cmp.Or(s.Of(), Vendor))), usersTable).Where("ended_at = 0")
		if err := tx.Find(store.After(q, usersTable, "created_at", at.place, at.started, at.limit), &rows); err != nil {
			return err
		}
		full, err := s.fillUsers(tx, rows)
		page = pageFrom(at, rows, userRow.place, func(r userRow) User { return full[r.ID] })
		return err
	})
	return page, err
}

// about is the call about a user: it is decided on by his organisation, which never changes. A user who is not there is of none.
func (d *Users) about(ctx context.Context, action string, id UserID) (ask Ask, err error) {
	ask = Ask{Action: action, Target: string(id)}
	if !store.Plain(string(id)) {
		return ask, nil
	}
	err = store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
		var of []string
		err := tx.Query(deciding, &of, "SELECT partner_id FROM prm_users WHERE id = ? AND ended_at = 0", id)
		if len(of) > 0 {
			ask.Target = of[0]
		}
		return err
	})
	return ask, err
}

// user reads one of the target's organisation, or the caller himself.
func (s *Standing) user(tx *store.Tx, id UserID) (User, error) {
	u, err := s.anyUser(tx, id)
	if err == nil && u.left {
		return User{}, errNotHere
	}
	return u, err
}

// anyUser is user, of one who has left as well.
func (s *Standing) anyUser(tx *store.Tx, id UserID) (User, error) {
	var row userRow
	if err := tx.Take(tx.From(store.OfPartner(string(s.Of())), usersTable).Where("id = ?", id), &row, ""); err != nil {
		return User{}, err
	}
	full, err := s.fillUsers(tx, []userRow{row})
	return full[row.ID], err
}

// fillUsers adds to rows, which were read in scope, what other tables hold of them.
func (s *Standing) fillUsers(tx *store.Tx, rows []userRow) (map[string]User, error) {
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	var more []struct {
		ID, Login, Email string
		Contact          bool
	}
	err := tx.Query(decided, &more, `SELECT u.id, i.login, i.email, COALESCE(p.contact_id = u.id, FALSE) AS contact FROM prm_users u
		JOIN prm_identities i ON i.id = u.identity_id JOIN prm_partners p ON p.id = u.partner_id WHERE u.id IN ?`, ids)
	if err != nil {
		return nil, err
	}
	list := make(map[string]User, len(rows))
	for _, r := range rows {
		list[r.ID] = User{ID: UserID(r.ID), Partner: ID(r.PartnerID), Active: !r.Disabled && r.EndedAt == 0, Invited: r.Invited && r.EndedAt == 0, left: r.EndedAt != 0, Version: r.Version, Created: r.CreatedAt.Time(),
			NewUser: NewUser{Name: r.Name, Phone: r.Phone, Locale: r.Locale, Role: Role(r.Role), Rights: r.Rights.list(), Scope: scopeOf(r.Scope)}}
	}
	for _, m := range more {
		u := list[m.ID]
		u.Login, u.Email, u.Contact = m.Login, m.Email, m.Contact
		list[m.ID] = u
	}
	return list, nil
}
