/*
 * Life without the agent, candidate 2: the book and the office.
 *
 * Every limit has one word of tokens (tok), from which clients only subtract, and one book word
 * (time, level). Whoever mints claims an interval of time by a compare-and-swap on the book and
 * brings the tokens afterwards. The agent and a refused client run the same mint.
 *
 * Each atomic block below stands for one atomic instruction on one shared word, plus arithmetic
 * on the process's own variables and on ghosts. A load followed by a compare-and-swap that
 * succeeds is written as one block: it takes effect at the instant of the swap, where the word
 * has the value that was loaded, and a swap that fails has no effect. A process that stops, or
 * dies, is one that the scheduler does not choose again; the deaths that change what is checked
 * are explicit. Operations are not counted: clients and agent go on for ever, and only the clock
 * ends. README.md in this folder says what is shown and what each mutant stands for.
 */

#ifndef CAP
#define CAP 2      /* burst, in tokens */
#endif
#ifndef RT
#define RT 1       /* time units for one token: 2 leaves a remainder in the book's time */
#endif
#ifndef MAXT
#define MAXT 3     /* the clock stops here */
#endif
#ifndef NCL
#define NCL 2      /* clients */
#endif
#ifndef LOSERS
#define LOSERS 1   /* how far below zero the word may go; it stays there for further losers */
#endif
#ifndef TERM
#define TERM 0     /* the office is held up to and including clock + TERM */
#endif
#ifndef STEP
#define STEP CAP   /* most tokens that one claim pays for */
#endif
#ifndef NMAX
#define NMAX 1     /* largest request: 1, or 2 for the compare-and-swap path as well */
#endif
/* GATELESS leaves the gate out. The gate only ever refuses, so what passes without it passes with
   it: the larger bounds use this, and look at the oracle alone. */
#ifndef SLACK
#define SLACK 0    /* tokens that one freeze past the late check excuses */
#endif

#define FREE  0
#define AGENT 9

/* Shared words. (tok,fence), (bT,bL), (cE,cL) and (oH,oX) are one word each. */
short tok = CAP;
#ifdef FENCE
byte fence;             /* upper bits of tok: the mint that may deliver. Any newcomer's bits differ
                           from all earlier ones, so the name of the last newcomer says the same. */
#endif
byte bT; byte bL = CAP; /* book: time, and level at the end of the last mint */
#ifdef REFUNDS
byte returned;
#endif
byte epoch = 1;
byte cE; byte cL;       /* closed: epoch and level seen */
#ifndef NO_OFFICE
byte oH; byte oX;       /* office: holder and the last instant of its term */
#endif
byte now;               /* the clock */

/* Ghosts. */
byte m;                 /* leaky meter of admissions, in 1/RT tokens: the oracle */
byte slack;             /* what the freezes so far excuse, in 1/RT tokens */
byte busy;              /* clients between the load of the epoch and the end of their attempt */
byte half;              /* minters between their delivery and their bump of the epoch */
bit dirty;              /* a minter died there, and no mint has looked at a quiet gate since */
#ifdef KILLS
bit killed;
#endif

#define MAX0(x) ((x) > 0 -> (x) : 0)
#define MIN(x,y) ((x) < (y) -> (x) : (y))
#define CLAMP(x,hi) ((x) < 0 -> 0 : ((x) > (hi) -> (hi) : (x)))

#ifdef REFUNDS
#define MINE mine = 1;
#else
#define MINE
#endif

inline admitted(n) {
  m = m + (n) * RT;
  assert(m <= CAP * RT + slack)
}

/* With nobody on the way and no bump outstanding, tokens are never behind a shut gate. */
inline check_gate() {
#ifndef GATELESS
  assert(busy > 0 || half > 0 || dirty || tok <= 0 || cE != epoch || cL >= 1)
#else
  skip
#endif
}

/* The ghost side of a delivery: it is late when the clock has left the term of the office. */
#ifdef GATELESS
#define LEAVE skip
#else
#define LEAVE e = 0; busy--; check_gate()
#endif

inline delivered() {
#ifndef GATELESS
  half++; inhalf = 1;
#endif
#ifndef NO_OFFICE
  if :: now > x -> slack = slack + SLACK * RT :: else fi
#else
  skip
#endif
}

inline forget() {
  vT = 0; vL = 0; t = 0; w = 0; nT = 0; nL = 0; room = 0; left = 0; pay = 0; r = 0; last = 0
}

#ifdef FENCE
#define READ_WORD atomic { w = tok; fence = me }
#else
#define READ_WORD atomic { w = tok }
#endif

/* A claim always moves the book's time on, so that no book ever looks like an older one. */
#ifdef CLAIM_STANDS_STILL
#define MAY_CLAIM (t >= vT)
#else
#define MAY_CLAIM (t > vT)
#endif

inline mint(me) {
  do
  ::
#ifdef WORD_BEFORE_BOOK
     READ_WORD;
#endif
     atomic { vT = bT; vL = bL };
#ifdef CLOCK_FIRST
     atomic { t = now };
#endif
#ifndef WORD_BEFORE_BOOK
     READ_WORD;
#endif
     atomic {
#ifndef CLOCK_FIRST
       t = now;
#endif
       last = 1; nT = vT;
       if
       :: !MAY_CLAIM
       :: else ->
#ifdef BLIND_MINT
          room = CAP - CLAMP(w, CAP);
#else
          room = CAP - MIN(vL, CAP);
#endif
          left = CLAMP(w, vL);
          if
          :: (t - vT) / RT >= room -> pay = room; nT = t
          :: else -> pay = (t - vT) / RT; nT = vT + pay * RT
          fi;
          if
          :: pay > STEP ->
             last = 0; pay = STEP; nT = vT + STEP * RT;
#ifdef STEP_REDUCED
             nL = left + STEP
#else
             nL = vL + STEP
#endif
          :: else -> nL = left + pay
          fi
       fi;
#ifndef ADD_THEN_HEAL
       w = 0
#endif
     };
#ifdef REFUNDS
     if
     :: atomic { last && MAY_CLAIM ->
          r = MIN(returned, room - pay);
#ifdef KEEP_EXCESS_REFUND
          returned = returned - r;
#else
          returned = 0;
#endif
          pay = pay + r; nL = nL + r;
          if
#ifdef FOLD_KEEPS_TIME
          :: r > 0 && nT == vT -> nT = vT + 1
#else
          /* A refund that fills the bucket ends the fraction of a token that was accruing. */
          :: r > 0 && pay == room -> nT = t
#ifndef CLAIM_STANDS_STILL
          :: r > 0 && nT == vT && pay < room -> nT = vT + 1
#endif
#endif
          :: else
          fi;
          r = 0 }
     :: atomic { else }
     fi;
#endif
     if
     :: nT == vT && pay == 0 -> goto reopen
     :: else
     fi;
#ifdef ADD_THEN_HEAL
     if
     :: atomic { w > vL && tok == w -> tok = vL; w = 0 }
     :: atomic { else -> w = 0 }
     fi;
#endif
#if !defined(NO_OFFICE) && !defined(NO_TERM_CHECK)
     /* The clock that the mint has read anyway: word and book were read inside the term. */
     if
     :: t > x -> goto lost
     :: else
     fi;
#endif
#ifdef NO_CLAIM
     atomic { bT = nT; bL = nL };
#else
     if
     :: atomic { bT == vT && bL == vL -> bT = nT; bL = nL }
     :: atomic { else -> goto lost }
     fi;
#endif
     atomic { vT = 0; vL = 0; t = 0; nT = 0; nL = 0; room = 0 };
     if
     :: pay == 0 -> goto reopen
     :: else
     fi;
#ifdef BUMP_BEFORE_ADD
     atomic { epoch++ };
#endif
#if !defined(NO_OFFICE) && !defined(FENCE)
     if
     :: atomic { now > x -> goto lost }
     :: atomic { else }
     fi;
#endif
#if defined(FENCE)
     if
     :: atomic { fence == me -> tok = CLAMP(tok, left) + pay; delivered() }
     :: atomic { else -> goto lost }
     fi;
#elif defined(ADD_THEN_HEAL)
     if
     :: atomic { tok < 0 -> tok = pay; delivered() }
     :: atomic { else };
        atomic { w = tok; tok = tok + pay; delivered() };
        if
        :: atomic { w < 0 -> tok = tok - w; w = 0 }
        :: atomic { else -> w = 0 }
        fi
     fi;
#elif defined(HEAL_TWICE)
     atomic { w = tok };
     atomic { tok = tok + pay - (w < 0 -> w : 0); w = 0; delivered() };
#elif defined(NO_CUT)
     atomic { tok = MAX0(tok) + pay; delivered() };
#else
     atomic { tok = CLAMP(tok, left) + pay; delivered() };
#endif
     atomic {
       left = 0; pay = 0;
#ifndef GATELESS
#ifndef BUMP_BEFORE_ADD
       epoch++;
#endif
       half--; inhalf = 0; dirty = 0; check_gate()
#endif
     };
     if
     :: last -> break
     :: else
     fi
  od;
  goto lost;

  /* Nothing was paid. A predecessor may have died between its delivery and its bump. */
reopen:
#ifndef GATELESS
  atomic { t = cE; w = cL; half++; inhalf = 1; if :: busy == 0 -> dirty = 0 :: else fi };
#ifdef NO_REOPEN
  atomic { t = 0 };
#endif
  if
  :: atomic { t == epoch };
     if
     :: atomic { tok > w }; atomic { epoch++ }
     :: atomic { else }
     fi
  :: atomic { else }
  fi;
  atomic { half--; inhalf = 0; check_gate() };
#endif
lost:
  atomic { forget() }
}

#define MINT_LOCALS byte vT, vL, t, nT, nL, room, left, pay, r; short w; bit last, inhalf; byte x

proctype agent() {
  MINT_LOCALS;
  do
  :: {
#ifndef NO_OFFICE
     atomic { t = now };
     if
#ifdef AGENT_BARGES
     :: atomic { oH = AGENT; oX = t + TERM; x = oX; t = 0 }
#else
     :: atomic { oH == FREE || oH == AGENT || t > oX -> oH = AGENT; oX = t + TERM; x = oX; t = 0 }
     :: atomic { else -> t = 0; goto skip_tick }
#endif
     fi;
#endif
     mint(AGENT);
skip_tick:
     x = 0
     } unless {
#ifdef KILLS
       atomic { killed -> killed = 0;
         if :: inhalf -> half--; inhalf = 0; dirty = 1 :: else fi;
         forget(); x = 0 }
#else
       false
#endif
     }
  od
}

proctype client(byte me) {
  MINT_LOCALS;
  byte e, n, back;
#ifdef REFUNDS
  bit mine;
#endif
  short o;
  do
  :: if
     :: atomic { n = 1 }
#if NMAX > 1
     :: atomic { n = 2 }
#endif
     fi;
try:
#ifndef GATELESS
     atomic { e = epoch; busy++ };
     if
     :: atomic { cE == e && n > cL -> busy--; e = 0; check_gate(); goto refused }
     :: atomic { else }
     fi;
#endif
     if
     :: atomic { n == 1 -> o = tok;
          if :: tok > -LOSERS -> tok-- :: else fi;
          if
          :: o >= 1 -> admitted(1); MINE o = 0; LEAVE; goto done
          :: else
          fi }
#if NMAX > 1
     :: atomic { n == 2 -> o = tok;
          if
          :: o >= 2 -> tok = tok - 2; admitted(2); MINE o = 0; LEAVE; goto done
          :: else
          fi }
#endif
     fi;
#ifdef EPOCH_AFTER_SUB
     atomic { e = epoch };
#endif
     /* The second branch is a client that dies before it can shut the gate. */
     if
#ifdef GATELESS
     :: atomic { o = 0 }
#else
     :: atomic { cE = e; cL = MAX0(o); o = 0; LEAVE }
     :: atomic { o = 0; LEAVE; goto dead }
#endif
     fi;
#ifdef UNDO
     atomic { tok = tok + 1 };
#endif
refused:
     /* The heartbeat may look stale at any time. */
     if
     :: goto done
     :: skip
     fi;
#ifdef SECOND_BUCKET
     atomic { if :: back < CAP -> back++; admitted(1) :: else fi; goto done };
#else
#ifndef NO_OFFICE
     atomic { t = now };
     if
     :: atomic { oH == FREE || t > oX -> oH = me; oX = t + TERM; x = oX; t = 0 }
     :: atomic { else -> t = 0; goto done }
     fi;
#endif
     mint(me);
#ifndef NO_OFFICE
     atomic { if :: oH == me && oX == x -> oH = FREE; oX = 0 :: else fi; x = 0 };
#endif
     goto try;
#endif
done:
     atomic { n = 0 };
#ifdef REFUNDS
     if
     :: atomic { mine && back < REFUNDS -> back++; mine = 0;
#ifdef REFUND_INTO_TOK
          tok++;
#else
          returned++;
#endif
          m = MAX0(m - RT) }
     :: atomic { skip }
     fi;
#endif
     skip
  od;
dead:
  skip
}

proctype clock() {
  do
  :: atomic { now < MAXT -> now++; m = MAX0(m - 1) }
  :: now == MAXT -> break
  od
}

#ifdef KILLS
proctype killer() {
  do
  :: atomic { !killed -> killed = 1 }
  od
}
#endif

init {
  atomic {
    run agent();
    run client(1);
#if NCL > 1
    run client(2);
#endif
#if NCL > 2
    run client(3);
#endif
#ifdef KILLS
    run killer();
#endif
    run clock()
  }
}
