/* The hand-over of a limit's rate between hosts, as lease/book.cpp and lease/desk.cpp do it.
 *
 * A server divides CAP units among HOSTS hosts. Requests, answers and acknowledgements may be
 * lost, doubled, late and reordered; a lease may end at any moment, at the host before the server
 * takes it for ended, which is what the margins of the two clocks buy. The promise: at every
 * instant the hosts together hold at most CAP, and each holds at most what the server counts.
 *
 * Mutants: FORGET_OFFERS (count what was offered last), CONFIRM_ANY (an acknowledgement of any
 * answer confirms the newest), TAKE_ANY (a host takes every answer of its session),
 * DECIDE_AGAIN (a repeated request is decided anew), EXPIRE_EARLY (the server does not wait until
 * the host's own end), OFFER_AFTER_END (an answer can be taken after its lease's end),
 * DROP_TAKEN (an offer that was taken is dropped as if it was not).
 */
#ifndef HOSTS
#define HOSTS 2
#endif
#ifndef CAP
#define CAP 2
#endif
#ifndef SEQS
#define SEQS 2 /* requests of a host in a run */
#endif
#ifndef SEQS_OTHERS
#define SEQS_OTHERS SEQS /* and of the hosts behind the first one */
#endif

#ifdef TAKE_ANY
#define MAY_TAKE (!h[i].late)
#else
#ifdef OFFER_AFTER_END
#define MAY_TAKE (h[i].awaiting && j == h[i].seq)
#else
#define MAY_TAKE (h[i].awaiting && j == h[i].seq && !h[i].late)
#endif
#endif
#ifdef EXPIRE_EARLY
#define MAY_EXPIRE (1)
#else
#define MAY_EXPIRE \
  (h[i].hold == 0 && (!h[i].awaiting || h[i].late || h[i].seq > h[i].last_seq))
#endif

#define max(a, b) ((a) > (b) -> (a) : (b))

/* The network: each cell holds the newest copies of a message; a message that stays is a double,
 * one that is never read is lost. Bits say which seqs are under way. */
typedef Host {
  byte hold;      /* what the host may mint */
  byte seq;       /* of the request that is under way, or was last */
  bit  awaiting;
  byte accepted;  /* the newest answer that was taken */
  bit  late;      /* the awaited answer would come after its lease's end */
  /* Server side. */
  byte held; byte next; bit offered; byte offered_seq; byte last_seq;
  byte answer_rate[SEQS + 1];  /* of the answer to each seq, while it is under way */
  byte request_accepted[SEQS + 1];
  bit  requested[SEQS + 1];    /* under way */
  bit  answered[SEQS + 1];
  bit  acked[SEQS + 1];
}
Host h[HOSTS];

inline counted(i, result) {
#ifdef FORGET_OFFERS
  result = (h[i].offered -> h[i].next : h[i].held);
#else
  result = (h[i].offered -> max(h[i].held, h[i].next) : h[i].held);
#endif
}

inline check() {
  sum = 0; k = 0;
  do
  :: k < HOSTS ->
     sum = sum + h[k].hold;
     counted(k, c);
     assert(h[k].hold <= c);
     k++
  :: else -> break
  od;
  assert(sum <= CAP);
}

inline free_for(i, result) {
  result = CAP; k = 0;
  do
  :: k < HOSTS ->
     if
     :: k != i -> counted(k, c); result = (c >= result -> 0 : result - c)
     :: else
     fi;
     k++
  :: else -> break
  od;
}

inline settle(i, yes) {
  if
  :: h[i].offered ->
     h[i].offered = 0;
     if :: yes -> h[i].held = h[i].next :: else fi
  :: else
  fi;
}

init {
  byte i; byte j; byte k; byte c; byte sum; byte room; byte rate;
  do
  /* A host asks. The next request goes out when the awaited answer came, or came too late. */
  :: atomic {
     i = 0;
     do :: i < HOSTS - 1 -> i++ :: break od;
     if
     /* asks */
     :: !h[i].awaiting && h[i].seq < (i == 0 -> SEQS : SEQS_OTHERS) ->
        d_step {
          h[i].seq++; h[i].awaiting = 1; h[i].late = 0;
          h[i].request_accepted[h[i].seq] = h[i].accepted;
          h[i].requested[h[i].seq] = 1;
        }
     /* the server hears a request, perhaps again: it stays under way or not */
     :: j = 1;
        do :: j < SEQS -> j++ :: break od;
        if
        :: h[i].requested[j] ->
           d_step {
             if
             :: j == h[i].last_seq ->
#ifdef DECIDE_AGAIN
                /* less this time; the first answer is still under way */
                if :: h[i].offered -> h[i].next = 0 :: else fi;
#endif
                h[i].answered[j] = 1;
                rate = 255
             :: j == h[i].last_seq + 1 ->
#ifdef DROP_TAKEN
                settle(i, 0);
#else
                settle(i, h[i].request_accepted[j] == h[i].offered_seq && h[i].offered_seq > 0);
#endif
                h[i].last_seq = j;
                free_for(i, room);
                rate = 0
             :: else -> rate = 255
             fi;
           }
           if
           :: rate == 0 ->
              /* any rate that is free */
              do :: rate < room -> rate++ :: break od;
              skip;
              d_step {
                h[i].next = rate; h[i].offered = 1; h[i].offered_seq = j;
                h[i].answer_rate[j] = rate; h[i].answered[j] = 1;
                check();
              }
           :: else
           fi;
           if :: h[i].requested[j] = 0 :: skip fi
        :: else
        fi
     /* a host hears an answer */
     :: j = 1;
        do :: j < SEQS -> j++ :: break od;
        if
        :: h[i].answered[j] && MAY_TAKE ->
           d_step {
             h[i].hold = h[i].answer_rate[j]; h[i].accepted = j; h[i].awaiting = 0;
             h[i].acked[j] = 1;
             check();
           }
        :: else
        fi;
        if :: h[i].answered[j] = 0 :: skip fi
     /* the server hears an acknowledgement */
     :: j = 1;
        do :: j < SEQS -> j++ :: break od;
        if
        :: h[i].acked[j] ->
           d_step {
#ifdef CONFIRM_ANY
             settle(i, 1);
#else
             if :: j == h[i].offered_seq -> settle(i, 1) :: else fi;
#endif
             check();
           }
           if :: h[i].acked[j] = 0 :: skip fi
        :: else
        fi
     /* the lease ends at the host; what it awaits may then come too late, or not */
     :: h[i].hold > 0 -> d_step { h[i].hold = 0; check(); }
     /* the host gives the answer up: its lease would have ended. It asks anew. */
     :: h[i].awaiting && h[i].hold == 0 -> d_step { h[i].late = 1; }
     :: h[i].awaiting && h[i].late -> d_step { h[i].awaiting = 0; }
     /* the lease ends at the server, after its end at the host, and after the last moment at
      * which an answer to what was asked before could be taken */
     :: MAY_EXPIRE && (h[i].held > 0 || h[i].offered) ->
        d_step { h[i].held = 0; h[i].offered = 0; h[i].offered_seq = 0; check(); }
     :: else -> skip
     fi;
     d_step { i = 0; j = 0; k = 0; c = 0; sum = 0; room = 0; rate = 0; }
     }
  :: break
  od
}
