package partner

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/partnerkit/partnerkit/internal/form"
	"github.com/partnerkit/partnerkit/internal/store"
)

// Form is a questionnaire: a JSON Schema (draft 2020-12) whose top properties are its sections, in their order. Beside the formats of the draft
// there are "link", for strings, an http or https address; and "file", for objects {"name", "media_type", "size", "sha256"}: a file that the host
// keeps, frozen by its digest.
type Form struct {
	Version int // from 1; 0 is no form
	Schema  json.RawMessage
}

// Answers are the replies to one version of a form: a JSON object with an object for each section.
type Answers struct {
	Version int // of the form that they answer
	Values  json.RawMessage
}

// partnerForm is the kind of form that partners answer when they accept their invitation.
const partnerForm = "partner"

// SetForm sets the form that partners invited from now on answer when they accept; those invited before answer the one of their invitation. The
// same text again changes nothing; an empty one ends the form. Vendor only. *[ValidationError] with every fault of the schema, its paths
// beginning with "schema".
func (d *Partners) SetForm(ctx context.Context, schema json.RawMessage) (f Form, err error) {
	defer wrap(&err, "set form")
	if len(bytes.TrimSpace(schema)) == 0 {
		schema = nil
	} else if _, faults := form.Parse(schema); len(faults) > 0 {
		return f, faultsOf("schema", faults)
	}
	err = d.reg.Write(ctx, Ask{Action: "partner.set_form"}, func(tx *store.Tx, s *Standing) error {
		version, fresh, err := form.Put(tx, partnerForm, string(schema))
		f = Form{Version: int(version), Schema: bytes.Clone(schema)}
		if err != nil || !fresh {
			return err
		}
		return s.Record(tx, "form.set", partnerForm, "schema")
	})
	if err != nil {
		return Form{}, err
	}
	return f, nil
}

// Profile returns what a partner answered when it accepted its invitation, for ever, and the form that it answered; both are empty if it answered
// none. Who sees all of the partner may.
func (d *Partners) Profile(ctx context.Context, id ID) (f Form, a Answers, err error) {
	defer wrap(&err, "profile of %s", id)
	err = d.reg.Read(ctx, Ask{Action: "partner.read", Target: string(id)}, func(tx *store.Tx, s *Standing) error {
		if !s.reads(partnerRow{ID: string(id)}) {
			return errNotAllowed
		}
		var rows []struct {
			Version int64
			Answers string
		}
		err := tx.Query(decided, &rows, "SELECT version, answers FROM prm_partner_profiles WHERE partner_id = ?", id)
		if err != nil || len(rows) == 0 {
			return err
		}
		text, err := form.At(tx, partnerForm, rows[0].Version)
		f = Form{Version: int(rows[0].Version), Schema: json.RawMessage(text)}
		a = Answers{Version: f.Version, Values: json.RawMessage(rows[0].Answers)}
		return err
	})
	if err != nil {
		return Form{}, Answers{}, err
	}
	return f, a, nil
}

// faultsOf turns a form's faults into field errors below a path.
func faultsOf(path string, faults []form.Fault) *ValidationError {
	v := &ValidationError{}
	for _, f := range faults {
		e := FieldError{Path: path, Code: f.Code, Message: f.Message}
		if f.Path != "" {
			e.Path += "." + f.Path
		}
		if f.Code == "unknown_code" {
			e.Err = ErrUnknownCode
		}
		v.Fields = append(v.Fields, e)
	}
	return v
}

// formOf is a version of the partner form, read; this process remembers it, for a version never changes.
func (r *Registry) formOf(version int64, schema string) (*form.Form, error) {
	known, _ := r.forms.Load(version)
	if f, found := known.(*form.Form); found {
		return f, nil
	}
	f, faults := form.Parse([]byte(schema))
	if len(faults) > 0 { // it was parsed when it was set
		return nil, faultsOf("schema", faults)
	}
	r.forms.Store(version, f)
	return f, nil
}

// checkAnswers checks what an invitee answers, and returns it as it is kept.
func (r *Registry) checkAnswers(c *checks, o offer, a Answers) (kept string, err error) {
	switch {
	case o.Schema == "" && (a.Version != 0 || len(a.Values) != 0):
		c.add("answers", "format", "must be empty: there is no form to answer", nil)
		return "", nil
	case o.Schema == "":
		return "", nil
	case len(a.Values) == 0:
		c.add("answers", "required", "must answer the form", nil)
		return "", nil
	case int64(a.Version) != o.FormVersion:
		c.add("answers.version", "unknown_code", "must be the form's of the invitation", ErrUnknownCode)
		return "", nil
	}
	f, err := r.formOf(o.FormVersion, o.Schema)
	if err != nil {
		return "", err
	}
	text, faults := f.Check(a.Values)
	if len(faults) > 0 {
		c.fields = append(c.fields, faultsOf("answers", faults).Fields...)
	}
	return string(text), nil
}

// Invitation is what a token is for, for the page on which it is redeemed.
type Invitation struct {
	Purpose     string // "partner", "user", "member", or "reset" for a new password
	User        UserID // whom it is for, or
	Member      MemberID
	Partner     ID // whose user, or whose account's member, he becomes
	PartnerName string
	Account     AccountID // of a member
	AccountName string
	Kind        MemberKind // of a member
	Role        Role       // of a user

	Name, Email, Login, Locale string // of whom it is for

	// Known tells that he has a log-in already: he gives its password, and chooses none ([Access.Accept]).
	Known bool
	Form  Form // to be answered; Version 0: none
	Until time.Time
}

// Invited returns what a token invites to, or whose new password it is for. Whoever holds the token may call it. Errors as Accept's about the token.
func (d *Access) Invited(ctx context.Context, token Secret) (in Invitation, err error) {
	defer wrap(&err, "read invitation")
	err = store.Read(ctx, d.reg.db, func(tx *store.Tx) error {
		o, err := readOffer(tx, token, "")
		if err != nil {
			return err
		}
		in = Invitation{Purpose: o.Purpose, User: UserID(o.UserID), Member: MemberID(o.MemberID), Partner: ID(o.PartnerID), PartnerName: o.Partner, Account: AccountID(o.AccountID), AccountName: o.Account,
			Kind: MemberKind(o.Kind), Role: Role(o.Role), Name: o.Name, Email: o.Email, Login: o.Login, Locale: o.Locale, Until: o.ExpiresAt.Time()}
		if o.Purpose == opensAccount {
			return errNoToken
		}
		if o.Schema != "" {
			in.Form = Form{Version: int(o.FormVersion), Schema: json.RawMessage(o.Schema)}
		}
		known, err := o.known(tx)
		in.Known = len(known) > 0
		return err
	})
	if err != nil {
		return Invitation{}, err
	}
	return in, nil
}
