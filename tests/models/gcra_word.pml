/*
 * Life without the agent, candidate 1: GCRA in the word.
 *
 * While the agent lives it alone adds to the word of tokens (tok). A client that finds the
 * heartbeat stale kills the word (DEAD_g), moves what was left in it into a theoretical arrival
 * time (tat), and from then on clients compare-and-swap tat. A returning agent exchanges tat for
 * OFF_(g+1) and turns what tat was worth into tokens again. The generation g ties the two words.
 *
 * Each atomic block stands for one atomic instruction on one shared word, plus arithmetic on the
 * process's own variables and on ghosts, with one exception that is marked below. A load followed
 * by a compare-and-swap that succeeds is one block, at the instant of the swap. Operations are not
 * counted: clients and agent go on for ever, and the clock and the generation end. The gate
 * (epoch, closed) is left out: book_office.pml checks it, and it is the same in both candidates.
 */

#ifndef CAP
#define CAP 2      /* burst, in tokens; one token a time unit */
#endif
#ifndef MAXT
#define MAXT 3     /* the clock stops here */
#endif
#ifndef NCL
#define NCL 2      /* clients */
#endif
#ifndef LOSERS
#define LOSERS 1   /* how far below zero a living word may go; it stays there for further losers */
#endif
#ifndef MAXG
#define MAXG 2     /* the agent stays away for good once the generation is here */
#endif

/* Shared words. (dead,dgen,tok) is one word; losers under DEAD_g are not kept, because a swap that
   fails for them is a refusal, which a client may meet at any time anyway. (live,tgen,tat) is the
   other word; tat is kept with CAP added so that it is never negative. */
bit dead; byte dgen; short tok = CAP;
bit live; byte tgen; byte tat;
byte now;

byte m; /* ghost: leaky meter of admissions, the oracle */

#define MAX0(x) ((x) > 0 -> (x) : 0)
#define MAX(x,y) ((x) > (y) -> (x) : (y))
#define MIN(x,y) ((x) < (y) -> (x) : (y))
#define CLAMP(x,hi) ((x) < 0 -> 0 : ((x) > (hi) -> (hi) : (x)))

#ifdef NOGEN
#define SAME(g,h) true
#define NEXT(g) 0
#else
#define SAME(g,h) ((g) == (h))
#define NEXT(g) (g) + 1
#endif

inline admitted() {
  m++;
  assert(m <= CAP)
}

proctype agent() {
  byte g, h, t, x, c, acc, prev = CAP, last;
  short w, o;
  bit was_dead, was_live;
  do
  :: g < MAXG ->
     atomic { was_dead = dead; h = dgen; w = (dead -> 0 : tok) };
     atomic { t = now };
     if
     :: was_dead ->
        /* RETURN */
        was_dead = 0;
        atomic { x = tat; was_live = live; live = 0; tat = 0; g++; tgen = NEXT(g - 1) };
        if
        :: was_live -> c = CLAMP(t + CAP - x, CAP)
        :: else -> c = 0
        fi;
#ifndef LASTBUG
        if
        :: was_live && x > t + CAP -> atomic { t = MIN(x - CAP, now) }
        :: else
        fi;
#endif
        if
        :: atomic { dead && SAME(dgen, h) -> dead = 0; dgen = 0; tok = c;
             prev = c; acc = 0; last = t }
        :: atomic { else }
        fi;
        atomic { h = 0; t = 0; x = 0; c = 0; was_live = 0 }
     :: else ->
        /* A living word beside a living tat: the next generation shuts it. */
        if
        :: atomic { live -> live = 0; tat = 0; g++; tgen = NEXT(g - 1) }
        :: atomic { else }
        fi;
#ifdef NOPREV
        acc = MIN(acc + t - last, CAP - CLAMP(w, CAP));
#else
        acc = MIN(acc + t - last, CAP - prev);
#endif
        last = t; t = 0; h = 0;
        c = CLAMP(w, prev);
        if
        :: atomic { w > prev && !dead && tok == w -> tok = c }
        :: atomic { else }
        fi;
        w = MIN(w, 0);
        /* The add may meet a word that died meanwhile: then the tokens are lost. */
        atomic { o = w;
          if
          :: !dead -> o = tok; tok = tok + acc - w
          :: else
          fi };
        if
        :: atomic { o < w && !dead -> tok = tok + w - o }
        :: atomic { else }
        fi;
        prev = c + acc; acc = 0;
        w = 0; o = 0; c = 0
     fi
  :: g >= MAXG -> break
  od
}

proctype client() {
  byte g, h, t;
  short w;
  bit off, wdead;
  do
  :: if
     :: atomic { !dead -> w = tok;
          if :: tok > -LOSERS -> tok-- :: else fi;
          if
          :: w >= 1 -> w = 0; admitted(); goto done
          :: else -> w = 0
          fi }
     :: atomic { dead }
     fi;
#ifdef UNDO
     atomic { if :: !dead -> tok++ :: else fi };
#endif
     /* The heartbeat may look stale at any time. */
     if
     :: goto done
     :: skip
     fi;
     atomic { off = !live; g = tgen };
     atomic { wdead = dead; h = dgen };
     if
     :: !wdead && off ->
#ifdef BACKWARD
        atomic { w = (dead -> 0 : tok); dead = 1; dgen = g; tok = 0 };
#else
        if
        :: atomic { !dead -> w = tok; dead = 1; dgen = g; tok = 0 }
        :: atomic { else -> goto done }
        fi;
#endif
        atomic { t = now };
#ifdef NAIVE
        if
        :: atomic { !live && SAME(tgen, g) -> live = 1; tgen = 0; tat = t }
#else
        if
        :: atomic { !live && SAME(tgen, g) -> live = 1; tgen = 0; tat = t + CAP - CLAMP(w, CAP) }
#endif
        :: atomic { else }
        fi;
        w = 0; t = 0
     :: !wdead && !off -> goto done
     :: wdead && off ->
        if
        :: SAME(h, g)
#ifndef BACKWARD
        /* A generation older than the word's own was read before somebody repaired the word. Writing
           it back would let an agent that still holds it bring a second burst. */
        :: !SAME(h, g) && h > g -> goto done
        :: !SAME(h, g) && h < g ->
#else
        :: !SAME(h, g) ->
#endif
           if
           :: atomic { dead && dgen == h -> dgen = g }
           :: atomic { else -> goto done }
           fi
        fi;
        atomic { t = now };
        if
        :: atomic { !live && SAME(tgen, g) -> live = 1; tgen = 0; tat = t + CAP }
        :: atomic { else }
        fi;
        t = 0
     :: wdead && !off
     fi;
     /* The exception: the clock and the swap of tat are one block. A call that stops between them
        swaps a tat that did not move, so it equals a call made at the instant of its clock; the
        promise counts an admission at some instant inside its call. */
     atomic {
       if
       :: live && MAX(tat, now) + 1 <= now + CAP -> tat = MAX(tat, now) + 1; admitted()
       :: else
       fi };
done:
     atomic { g = 0; h = 0; t = 0; w = 0; off = 0; wdead = 0 }
  od
}

proctype clock() {
  do
  :: atomic { now < MAXT -> now++; m = MAX0(m - 1) }
  :: now == MAXT -> break
  od
}

init {
  atomic {
    run agent();
    run client();
#if NCL > 1
    run client();
#endif
    run clock()
  }
}
