package partner

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/partnerkit/partnerkit/internal/fail"
)

// Options sets up a [Registry]; the zero value works. Callbacks run before the transaction of the call that needs them, never
// inside one, and may use the same database; Clock and Random alone run anywhere and must use nothing.
type Options struct {
	// Clock gives the time. Defaults to time.Now.
	Clock func() time.Time
	// Random fills its argument with unpredictable bytes, for ids and tokens. Defaults to crypto/rand.
	Random func([]byte)
	// Logger gets warnings about the SDK's own work, never a value of the host's data. Defaults to slog.Default at level warn.
	Logger *slog.Logger
	// Regions names the region (data centre) that serves a country, an ISO 3166-1 alpha-2 code; "" means none does: ErrNoRegion.
	// An error or a late answer is ErrUnavailable. Defaults to the country's own code.
	Regions func(ctx context.Context, country string) (region string, err error)
	// Phones reads a phone number as its owner writes it, for a country that may be empty, and returns it as E.164.
	// Defaults to accepting E.164 with spaces, dashes, dots and brackets.
	Phones func(raw, country string) (e164 string, err error)
	// Reference knows the codes of regions and legal forms that agreements may name. Defaults to knowing none.
	Reference Reference
	// TaxIDCheck says what becomes of a tax id whose check digit is wrong: "off" nothing, "warn" a warning, "strict" a field error.
	// Defaults to "warn".
	TaxIDCheck string
	// WeakPassword replaces the password policies: it says why a password is too weak under a partner's policy, "" if it is not. about is what
	// one who guesses would try: names, the log-in, the address. Defaults to what [Agreement].PasswordPolicy says.
	WeakPassword func(policy string, password Secret, about []string) (why string)
	// Hasher keeps passwords. Defaults to argon2id with 46 MiB and one pass.
	Hasher PasswordHasher
	// Notifier delivers mail. Defaults to none: deliveries wait in the database.
	Notifier Notifier
	// Sealer seals what deliveries say while they wait, tokens above all, and passwords that may be shown. Defaults to none: deliveries lie open in
	// the database until they are sent, and no password can be shown.
	Sealer Sealer
	// LinkVerifiedEmail lets [Access.Enter] link an outside log-in to a user by an address that the provider says it has verified. Only for providers
	// whose word for addresses is good. Defaults to false.
	LinkVerifiedEmail bool
	// StepUp is asked before an account is closed (action "account.close") or that confirmed for somebody ("account.confirm_close"), an account given to another owner ("account.transfer") and a password revealed ("user.reveal") whether the principal, usr_… or
	// acc_…, has lately proved anew who it is; no is [ErrForbidden], an error or a late answer ErrUnavailable. The host itself is not asked about, and
	// inside a host transaction such calls refuse. Defaults to asking nobody.
	StepUp func(ctx context.Context, principal, action, target string) (ok bool, err error)
	// DeliverTokens has tokens in the results of the calls that make them, for a host that brings them to people by ways of its own, instead of
	// in deliveries. They count as mailed: whoever has one is the person it is for, so never show one to the caller, who could act as that person and
	// take his address. Defaults to false.
	DeliverTokens bool
	// InvitationLife is how long an invitation can be accepted. Defaults to 14 days.
	InvitationLife time.Duration
	// Features tells whether a function of the host's product is within a ceiling, both in the host's words; what it does not know is not. The
	// ceiling is that of an account's type, and may be empty. Defaults to nothing being within any. See [Accounts.Entitled].
	Features func(ctx context.Context, ceiling, feature string) (within bool, err error)
	// Erasers delete the host's data of an account whose deletion was confirmed, in this order, called by [Registry.Step]. Give all processes that work on
	// the database the same, or those of their part: no account is deleted before every class that any of them has named, by a first Step or a Close, was
	// erased; see [Accounts.RetireEraser]. Defaults to none: there is nothing of the host's to erase.
	Erasers []Eraser
	// RunningWork lists what of the host's is going on in an account, in its own words, for [Accounts.PreviewClose] to show. Defaults to nothing.
	RunningWork func(ctx context.Context, account AccountID) ([]string, error)
	// Signer signs the receipts of deleted accounts with a key of the host's, whose name it returns. A receipt waits for it. Defaults to none: they are
	// not signed. Once a process that has one has worked, all receipts wait for such a process.
	Signer func(ctx context.Context, message []byte) (signature []byte, keyID string, err error)
	// Requirements adds faults to an agreement about to be created, for fields the host wants filled. Defaults to none.
	Requirements func(Agreement) []FieldError
	// MaxDepth bounds the tree of partners; a root is at depth 1. Defaults to 12, at most 32.
	MaxDepth int
	// Session bounds sessions. Defaults to 12 h idle, 30 days in all, and an hour for delegated ones.
	Session SessionLimits
	// CallbackTime bounds each call of Regions, Features, RunningWork, Signer and StepUp. Defaults to 5 s.
	CallbackTime time.Duration
	// ConnectionWait bounds the wait for a free connection of the host's pool; then the call is ErrUnavailable. Defaults to 10 s.
	ConnectionWait time.Duration
}

// SessionLimits bounds sessions: without any call, in all, and while somebody acts for another ([Access.ActFor]). An idle session ends at most a 720th of its limit later (a minute of
// twelve hours), never before it.
type SessionLimits struct{ Idle, Absolute, ActAs time.Duration }

// PasswordHasher replaces argon2id. Verify also says whether the hash should be renewed. At most four run at once.
type PasswordHasher interface {
	Hash(ctx context.Context, password []byte) (string, error)
	Verify(ctx context.Context, hash string, password []byte) (ok, renew bool, err error)
}

const maxDepthLimit = 32 // keeps a path of 13-digit node numbers under 512 bytes

func (o *Options) withDefaults() (Options, error) {
	var c Options
	if o != nil {
		c = *o
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(atLeastWarn{slog.Default().Handler()})
	}
	if c.Hasher == nil {
		c.Hasher = argon2idHasher{}
	}
	if c.TaxIDCheck == "" {
		c.TaxIDCheck = taxIDsWarn
	}
	if c.MaxDepth == 0 {
		c.MaxDepth = 12
	}
	if c.Session.Idle == 0 {
		c.Session.Idle = 12 * time.Hour
	}
	if c.Session.Absolute == 0 {
		c.Session.Absolute = 30 * 24 * time.Hour
	}
	if c.Session.ActAs == 0 {
		c.Session.ActAs = time.Hour
	}
	if c.InvitationLife == 0 {
		c.InvitationLife = 14 * 24 * time.Hour
	}
	if c.CallbackTime == 0 {
		c.CallbackTime = 5 * time.Second
	}
	switch {
	case c.MaxDepth < 1 || c.MaxDepth > maxDepthLimit:
		return c, fail.New(fail.Invalid, fmt.Sprintf("Options.MaxDepth must be 1 to %d", maxDepthLimit))
	case !slices.Contains([]string{taxIDsOff, taxIDsWarn, taxIDsStrict}, c.TaxIDCheck):
		return c, fail.New(fail.Invalid, "Options.TaxIDCheck must be off, warn or strict")
	case c.Session.Idle < 0 || c.Session.Absolute < 0 || c.Session.ActAs < 0:
		return c, fail.New(fail.Invalid, "Options.Session limits must be positive")
	case c.InvitationLife < 0:
		return c, fail.New(fail.Invalid, "Options.InvitationLife must be positive")
	case c.CallbackTime < 0 || c.ConnectionWait < 0:
		return c, fail.New(fail.Invalid, "Options.CallbackTime and ConnectionWait must be positive")
	}
	return c, nil
}

// atLeastWarn keeps the SDK quiet in a host that logs at debug.
type atLeastWarn struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h atLeastWarn) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && h.Handler.Enabled(ctx, l)
}
