// Package outbox sends what was written down to be sent: durable deliveries, each at least once.
//
// Invariants:
//   - A delivery is written in the transaction of what it tells of, one row a receiver: it is there if and only if that has happened.
//   - A delivery is claimed with a lease. Whoever claims it raises its attempt; only the claimant of that attempt finishes it. A claim that
//     is never finished, its process having died, lapses with its lease and counts as a failure.
//   - A lease is renewed while its delivery is being sent. Who has lost it is told so by the end of its context.
//   - What fails waits longer each time, from a second to an hour, and is dead after twelve failures. A receiver that is away is waited for
//     as long as it takes. A dead delivery stays until somebody has it tried again.
//   - What a finished delivery was to say is wiped with its finish.
//
// Deliveries have no order among each other. Several processes may send at once; on PostgreSQL none waits for another.
package outbox
