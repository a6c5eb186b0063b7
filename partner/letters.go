package partner

import (
	"cmp"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
	"github.com/partnerkit/partnerkit/internal/outbox"
	"github.com/partnerkit/partnerkit/internal/store"
)

// letter is what one receiver is told of an event. In the delivery's row it is the payload.
type letter struct {
	id       string // of its delivery; made if empty
	template string
	expires  store.Micros      // from then on it says nothing
	To       string            `json:"to"`
	Locale   string            `json:"locale,omitempty"`
	Token    string            `json:"token,omitempty"`
	Data     map[string]string `json:"data,omitempty"`
}

// Words in a letter's data.
const (
	wordPartner = "partner" // name of the organisation
	wordName    = "name"    // of the person
	wordProject = "project" // its name
	wordAccount = "account" // its name
	wordUntil   = "until"   // when the token or the access runs out, RFC 3339 in UTC
	wordState   = "state"   // what was decided
	wordRoles   = "roles"   // asked for

	wordDelegation = "delegation" // its id
	wordOwner      = "owner"      // name of an account's new owner
)

// deliver puts a letter about event on its way, in the transaction of the event. The token in it is the one that was made with it, however often
// it is sent.
func (s *Standing) deliver(tx *store.Tx, e eventRow, l letter) error {
	d := outbox.Delivery{ID: cmp.Or(l.id, tx.NewID("dlv")), ExpiresAt: l.expires, EventID: e.ID, PartnerID: e.PartnerID, AccountID: e.AccountID, Template: l.template, Region: s.Account.Region}
	text, err := json.Marshal(l)
	if err != nil { // it holds nothing but text
		return err
	}
	d.Payload = string(text)
	if s.reg.sealing != nil {
		d.Payload = s.reg.sealing.seal(d.Payload, payloadUse(d.ID))
	}
	s.delivered = true
	return outbox.Add(tx, d)
}

// payloadUse is what a sealed payload is bound to: its own row.
func payloadUse(delivery string) string { return "delivery/" + delivery }

// letterOf reads a payload; it may ask the host's sealer.
func (r *Registry) letterOf(id, template, payload string) (l letter, err error) {
	if isSealed(payload) {
		if payload, err = r.sealing.open(payload, payloadUse(id)); err != nil {
			return l, err
		}
	}
	if json.Unmarshal([]byte(payload), &l) != nil {
		return l, errUnsealed
	}
	l.template = template
	return l, nil
}

// message is a letter in English, for hosts that have no words of their own.
func (l letter) message(d outbox.Delivery) Message {
	m := Message{ID: d.ID, Template: l.template, Locale: l.Locale, To: l.To, Region: d.Region, Token: Secret(l.Token), Data: l.Data}
	text := texts[l.template]
	m.Subject, m.Text = filled(text.subject, l.Data), Secret(filled(text.body, l.Data))
	if l.Token != "" {
		m.Text += Secret("\nYour code: " + l.Token + "\nIt is good once, until " + l.Data[wordUntil] + ".\n")
	}
	return m
}

// filled puts words where text names them in braces; one that is not there leaves a gap. A strings.Replacer would be made anew for each letter.
func filled(text string, words map[string]string) string {
	var b strings.Builder
	b.Grow(2 * len(text))
	for {
		before, rest, _ := strings.Cut(text, "{")
		b.WriteString(before)
		word, after, found := strings.Cut(rest, "}")
		if !found {
			return b.String()
		}
		b.WriteString(words[word])
		text = after
	}
}

// texts are what letters say, by template.
var texts = map[string]struct{ subject, body string }{
	templateWelcome: {"Welcome to the partner programme", `Hello,

you are invited to work for {partner} in our partner programme. Accept the invitation with the code below and choose a password.
`},
	templateInvitation: {"An invitation to {account}", `Hello,

you are invited to work in {account} of {partner}. Accept the invitation with the code below and choose a password, or give the one that you have with
us already.
`},
	templateOpenAccount: {"Your new account", `Hello {name},

somebody, you we hope, wants to open an account of {partner} for you. Go on with the code below. If it was not you, do nothing.
`},
	templateTransferred: {"{account} has another owner", `Hello {name},

the account {account} of {partner} has another owner: {owner}.
`},
	templateMemberReset: {"Your new password", `Hello,

somebody asked for a new password for your log-in to {account} of {partner}. Choose one with the code below. If you do nothing, your password stays as it
is.
`},
	templateReset: {"Your new password", `Hello {name},

somebody, you we hope, asked for a new password for your log-in at {partner}. Choose one with the code below. If it was not you, do nothing: your
password stays as it is.
`},
	templateRevealed: {"Your password was looked at", `Hello {name},

an admin of {partner} has looked at your password, as the agreement with {partner} allows. If you do not want others to know it, choose another
one.
`},
	templateCloseConfirmation: {"{account} is closing", `Hello,

{account} of {partner} is closing. Its access is blocked. Its data will be deleted for good once you confirm that with the code below; until then the
close can be cancelled.
`},
	templateCloseReminder: {"{account} is still closing", `Hello,

{account} of {partner} is closing, and nobody has confirmed yet that its data is to be deleted. Confirm it with the code that you were sent last, or
cancel the close.
`},
	templateCloseNotice: {"{account} is closing", `Hello,

{account} is closing. Its access is blocked; its data will be deleted once {partner} confirms that.
`},
	templateIdleNotice: {"{account} has not been used for long", `Hello,

nobody has used {account} of {partner} for long. It will be deleted, with its data, after {until}, unless somebody uses it before then.
`},
	templateIdleLastNotice: {"{account} will be deleted", `Hello,

nobody has used {account} of {partner} since you were told that it will be deleted. This is the last notice: after {until} its data is gone for good. To
keep it, it is enough to use it.
`},
	templateCloseCancelled: {"{account} stays open", `Hello,

{account} of {partner} does not close after all. Nothing of its data was deleted, and its access is open again.
`},
	templateDelegationRequested: {"Access to project {project}", `{name} of {partner} asks to be let into your project {project} as {roles} until {until}. Nobody is
before you have approved it.
`},
	templateDelegationDecided: {"Access to project {project}", `Hello {name},

your access to the project {project} was {state}.
`},
	templateProjectEmail: {"Another address for project {project}", `Mail about the project {project} goes to another address from now on.
`},
}

// Templates, as Message.Template names them.
const (
	templateWelcome           = "welcome"
	templateReset             = "password_reset"
	templateInvitation        = "invitation"
	templateMemberReset       = "member_password_reset"
	templateOpenAccount       = "account_opening"
	templateTransferred       = "account_transferred"
	templateRevealed          = "password_revealed"
	templateCloseConfirmation = "close_confirmation"
	templateCloseNotice       = "close_notice"
	templateCloseReminder     = "close_reminder"
	templateCloseCancelled    = "close_cancelled"
	templateIdleNotice        = "idle_notice"
	templateIdleLastNotice    = "idle_last_notice"
	templateProjectEmail      = "project_email_changed"

	templateDelegationRequested = "delegation_requested"
	templateDelegationDecided   = "delegation_decided"
)

// hushed is an error of a notifier without what the letter alone may say: mail servers like to repeat addresses, and the text is kept.
func (l letter) hushed(err error) error {
	if err == nil {
		return nil
	}
	secrets := []string{l.Token, l.To}
	for _, v := range l.Data {
		secrets = append(secrets, v)
	}
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	text := err.Error()
	for _, s := range secrets {
		for _, form := range []string{s, url.QueryEscape(s)} {
			if len(s) > 2 {
				text = regexp.MustCompile("(?i)"+regexp.QuoteMeta(form)).ReplaceAllLiteralString(text, redacted)
			}
		}
	}
	text = addressLike.ReplaceAllLiteralString(text, redacted)
	kind := fail.KindOf(err)
	if kind == nil {
		return hush(text)
	}
	return fail.New(kind, text)
}

// addressLike is what looks like an address, in the spelling of whoever repeats it.
var addressLike = regexp.MustCompile(`(?i)[^\s<>()"',;:]*(@|%40)[^\s<>()"',;:]*`)

// hush is an error that is nothing but its text.
type hush string

// Error implements error.
func (h hush) Error() string { return string(h) }

func until(at store.Micros) string { return at.Time().Truncate(time.Second).Format(time.RFC3339) }
