/*
 * The two tables of rules, the word that says which of them is valid, and the ends of leases beside
 * them: how terms come in force a few slots at a time while readers copy them, and what a reader can
 * see if the agent dies anywhere.
 *
 * A slot's terms are two words of one version. The writer changes one slot a publication: it writes
 * into the table that is not valid what changed now and what changed last (the other slots are equal
 * in both), flips, and then stores the slot's end, a word outside the tables. A reader loads the flip
 * word, copies the slot's words and its end, and loads the flip word again.
 *
 * Each step is one atomic access. The mutants take a rule out; each must fail.
 */

#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef PUBLICATIONS
#define PUBLICATIONS 4
#endif

/* Shared words: table t, slot s at [t * SLOTS + s]. */
byte first[2 * SLOTS];
byte second[2 * SLOTS];
byte ends[SLOTS];
byte flip;              /* bit 0: the valid table; the rest counts publications */

/* Ghost: the version of each slot that readers may rely on, which is the last that was flipped. */
byte published[SLOTS];

#define AT(t, s) ((t) * SLOTS + (s))

proctype agent() {
  byte version = 0;
  byte table, slot;
  byte stale = SLOTS;   /* the slot in which the tables differ; SLOTS: none */
  byte kept;            /* what the valid table has there */

  do
  :: version < PUBLICATIONS ->
    version++;
    if :: slot = 0 :: slot = SLOTS - 1 fi;
#ifdef WRITE_VALID
    table = flip & 1;
#else
    table = 1 - (flip & 1);
#endif
#ifdef FLIP_FIRST
    atomic { flip++; published[slot] = version; }
#endif
#ifdef ENDS_FIRST
    ends[slot] = version;
#endif
#ifndef NO_STALE
    if
    :: stale < SLOTS && stale != slot ->
      kept = first[AT(1 - table, stale)];
      first[AT(table, stale)] = kept;
      second[AT(table, stale)] = kept
    :: else
    fi;
#endif
    first[AT(table, slot)] = version;
    second[AT(table, slot)] = version;
#ifdef NO_FENCE
    /* The next publication's first store is seen before this one's flip. */
    if
    :: version < PUBLICATIONS -> first[AT(1 - table, slot)] = version + 1
    :: true
    fi;
#endif
#ifndef FLIP_FIRST
    atomic { flip++; published[slot] = version; }
#endif
    stale = slot;
#ifndef ENDS_FIRST
    ends[slot] = version
#endif
  :: break              /* killed, or nothing more to say */
  od
}

/* Bits of the flip word by which a reader notices that it has moved. */
#ifdef COMPARE_BIT
#define SEEN(word) ((word) & 1)
#else
#define SEEN(word) (word)
#endif

proctype reader() {
  byte before, after, a, b, end, oldest, slot;

  do
  :: true ->
    if :: slot = 0 :: slot = SLOTS - 1 fi;
    atomic { before = flip; oldest = published[slot]; }
    a = first[AT(before & 1, slot)];
    b = second[AT(before & 1, slot)];
    end = ends[slot];
    after = flip;
    if
#ifdef NO_SECOND_LOOK
    :: true ->
#else
    :: SEEN(after) == SEEN(before) ->
#endif
      assert(a == b);              /* whole */
      assert(a >= oldest);         /* and never older than what was in force when it began */
      assert(end <= a);            /* a later end goes with the terms that it was given with */
    :: else
    fi;
    a = 0; b = 0; end = 0; oldest = 0; before = 0; after = 0
  od
}

init {
  atomic { run agent(); run reader(); }
}
