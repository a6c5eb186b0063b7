package partner

import (
	"context"
	"errors"
	"slices"

	"github.com/partnerkit/partnerkit/internal/store"
)

// typeProject is the account type of projects.
const typeProject = "project"

// NewProject is what OpenProject needs: all but Phone, Locale, Customer and Password.
type NewProject struct {
	Name    string // unique among the partner's undeleted projects, case-folded
	Email   string // gets all mail about the project
	Company string
	Country string // ISO 3166-1 alpha-2; decides the region, for good
	Login   string // of the delegated log-in; unique over all log-ins of the installation, never changes
	Phone   string // kept as E.164
	Locale  string // BCP 47

	// Customer is the end customer that the project is for, an id in the host's words and neither a name nor an address: it decides who is let into it
	// ([Access.RequestDelegation]). It may be told later, and once told never changes.
	Customer string

	Password Secret // of the delegated log-in, by the organisation's own; if empty, it refuses until SetProjectPassword sets one

	Partner ID // Defaults to the caller's organisation; another only below it, where the caller may work.

	// Key makes OpenProject idempotent: the same key and content returns the first result. The password is not compared. Without one, a
	// key is made; what OpenProject returns carries it.
	Key string

	prepared *preparedProject
}

// OpenProject opens a project with its delegated log-in; for partner users, of partners with [Operate]. *[ValidationError] with every
// failing field ("taken" for name or login, which a closing project keeps, "no_region" with [ErrNoRegion]), [ErrPending], [ErrUnavailable] if Options.Regions fails.
func (d *Accounts) OpenProject(ctx context.Context, p NewProject) (a Account, err error) {
	defer wrap(&err, "open project")
	ask := Ask{Action: "project.open", Target: string(p.Partner), Keyed: p.Key != ""}
	found, err := d.reg.repeated(ctx, ask, ask.Action, p.Key, projectDigest(p, false), func(tx *store.Tx, s *Standing, id string) error {
		if a, err = s.account(tx, id); err == nil {
			a.Project.Key, a.Replayed = p.Key, true
		}
		return err
	})
	if found || err != nil {
		return a, err
	}
	if p, err = d.reg.readyProject(ctx, p); err != nil {
		return a, d.reg.slowDownIfTaken(ctx, d.reg.withTaken(ctx, ask, err, p.Login, p.Name))
	}
	err = d.reg.Write(ctx, ask, func(tx *store.Tx, s *Standing) error {
		fresh, key := tx.NewID("acc"), p.Key
		id, replayed, err := once(tx, s.Of(), ask.Action, &key, projectDigest(p, false), fresh, func() error {
			if err := s.Refusal(); err != nil {
				return err
			}
			return s.insertProject(tx, fresh, p)
		})
		if err != nil {
			return err
		}
		if a, err = s.account(tx, id); err == nil {
			a.Project.Key, a.Replayed = key, replayed
		}
		return err
	})
	if err != nil {
		unknown := Account{}
		if key := keyToRepeat(err, keyOf(a)); key != "" {
			unknown.Project = &NewProject{Key: key}
		}
		return unknown, d.reg.slowDownIfTaken(ctx, err)
	}
	return a, nil
}

func keyOf(a Account) string {
	if a.Project == nil {
		return ""
	}
	return a.Project.Key
}

func (s *Standing) insertProject(tx *store.Tx, id string, p NewProject) error {
	of := string(s.Of())
	if p.prepared.of != "" && p.prepared.of != s.Of() {
		return errUnprepared
	}
	if p.Password != "" && s.isBelow() {
		return errNotAllowed // nobody chooses a password for another organisation
	}
	var c checks
	if err := s.noteTaken(tx, &c, p.Login, p.Name); err != nil {
		return err
	}
	if err := c.err(); err != nil {
		return err
	}
	key := loginKey(p.Login)
	identity := identityRow{ID: tx.NewID("idn"), Kind: "project", Login: p.Login, LoginKey: &key, PasswordHash: p.prepared.passwordHash, Version: 1,
		CreatedAt: tx.Now()}
	if fresh, err := tx.InsertNew(&identity); err != nil {
		return err
	} else if !fresh {
		return errLoginTaken()
	}
	t, err := typeOf(tx, typeProject, sharing)
	if err != nil {
		return err
	}
	if err := takeAccount(tx, s.Of(), t); err != nil {
		return err
	}
	owner, err := s.opener(tx)
	if err != nil {
		return err
	}
	row := accountRow{
		ID: id, PartnerID: of, OwnerID: owner, Denies: t.Denies, Type: typeProject, IdentityID: &identity.ID, Name: p.Name, NameKey: nameKey(p.Name), State: "active",
		Region: p.prepared.region, Email: p.prepared.email, Company: p.Company, Country: p.prepared.country, Phone: p.prepared.phone, Locale: p.Locale,
		Customer: p.Customer, Version: 1, CreatedAt: tx.Now(),
	}
	if fresh, err := tx.InsertNew(&row); err != nil {
		return err
	} else if !fresh {
		return errNameTaken()
	}
	s.Account.ID = id
	if err := watch(tx, row, t); err != nil {
		return err
	}
	return s.Record(tx, "project.opened", id)
}

// errNameTaken is what two calls at the same time can only learn from the database.
func errNameTaken() *ValidationError {
	return &ValidationError{Fields: []FieldError{{Path: "name", Code: "taken", Message: "another project of the partner has this name"}}}
}

// noteTaken adds the faults that only the database knows, so that they come together; the unique indexes decide races. An empty name
// is not looked up.
func (s *Standing) noteTaken(tx *store.Tx, c *checks, login, project string) error {
	if err := s.mayAskForNames(tx); err != nil {
		return err
	}
	var n int64
	if err := tx.Query(deciding, &n, "SELECT count(*) FROM prm_identities WHERE login_key = ?", loginKey(login)); err != nil {
		return err
	}
	if n > 0 && login != "" {
		c.fields = append(c.fields, errLoginTaken().Fields...)
	}
	if project == "" {
		return nil
	}
	q := tx.From(store.OfPartner(string(s.Of())), accountsTable).Where("name_key = ? AND type = 'project' AND state <> 'deleted'", nameKey(project))
	if n, err := tx.Count(q); err != nil {
		return err
	} else if n > 0 {
		c.fields = append(c.fields, errNameTaken().Fields...)
	}
	return nil
}

// withTaken completes a ValidationError with the names that are taken, for an actor who may know. A name with a fault of its own is
// not looked up.
func (r *Registry) withTaken(ctx context.Context, ask Ask, err error, login, project string) error {
	var v *ValidationError
	if !errors.As(err, &v) {
		return err
	}
	if _, faulty := v.Field("login"); faulty {
		login = ""
	}
	if _, faulty := v.Field("name"); faulty {
		project = ""
	}
	c := checks{fields: slices.Clone(v.Fields)}
	if denied := r.Read(ctx, ask, func(tx *store.Tx, s *Standing) error { return s.noteTaken(tx, &c, login, project) }); denied != nil {
		return denied
	}
	return c.err()
}
