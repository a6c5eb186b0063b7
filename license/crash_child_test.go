package license_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/partnerkit/partnerkit/internal/dbtest"
	"github.com/partnerkit/partnerkit/partner"
	"gorm.io/gorm"
)

// What a child process is told.
const (
	childKind    = "PARTNERKIT_CHILD_KIND"
	childDSN     = "PARTNERKIT_CHILD_DSN"
	childName    = "PARTNERKIT_CHILD_NAME" // what its keys begin with
	childTokens  = "PARTNERKIT_CHILD_TOKENS"
	childCallers = "PARTNERKIT_CHILD_CALLERS"
	childCalls   = "PARTNERKIT_CHILD_CALLS" // of each caller; 0 is without end
)

// A child is this test binary started again.
func init() {
	if os.Getenv(childDSN) == "" {
		return
	}
	if err := child(); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child works as it is told, and says on standard output what it begins ("try") and what became of it.
func child() error {
	db, err := dbtest.Connect(os.Getenv(childKind), os.Getenv(childDSN), &gorm.Config{})
	if err != nil {
		return err
	}
	reg, err := partner.Open(context.Background(), db, drillOptions())
	if err != nil {
		return err
	}
	at, err := resumePlaces(reg, strings.Fields(os.Getenv(childTokens)))
	if err != nil {
		return err
	}
	var out sync.Mutex
	say := func(word string, d deed) {
		out.Lock()
		defer out.Unlock()
		_, _ = os.Stdout.WriteString(word + " " + d.String() + "\n") // unbuffered: what is written survives the process
	}
	callers, _ := strconv.Atoi(os.Getenv(childCallers))
	calls, _ := strconv.Atoi(os.Getenv(childCalls))
	var all sync.WaitGroup
	for i := range callers {
		c := &caller{place: i % drillPlaces, name: fmt.Sprint(os.Getenv(childName), ".", i)}
		all.Go(func() {
			for n := 0; calls == 0 || n < calls; n++ {
				d := c.next()
				say("try", d)
				id, err := at.do(d)
				switch {
				case err == nil:
					c.learn(d, id)
					say("ack", d)
				case c.fair(d, err):
					say("refused", d)
				default:
					fmt.Println("error", d, err)
				}
			}
		})
	}
	all.Wait()
	return nil
}
