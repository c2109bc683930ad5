/*
 * How an event gets from a client into the database exactly once: the mark, the
 * spool, its drain, and the idempotency key. README.md says which code each part
 * models. Spin visits every order in which the steps and the faults below can
 * happen.
 *
 * -DBUG=n plants a mistake that the model must find; 0 is the design.
 */
#ifndef BUG
#define BUG 0
#endif

/* How many faults happen at most, and how many of each kind. */
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef CRASHES
#define CRASHES FAULTS /* a backend is killed, or its machine loses power */
#endif
#ifndef OUTAGES
#define OUTAGES FAULTS /* the database goes away, and comes back */
#endif
#ifndef LOST
#define LOST FAULTS    /* the database commits, and the answer is lost */
#endif
#ifndef LATE
#define LATE 1         /* a backend gives a transaction up, and it commits later all the same */
#endif
#ifndef ABORTS
#define ABORTS FAULTS  /* the database rolls a transaction back */
#endif

#define BACKENDS 2
#define WRITERS  (BACKENDS + CRASHES) /* every start of a backend is a new writer */
#define RECORDS  6                    /* what fits into the file of a spool */
#define NOBODY   255

/* A client sends request 0, which has a key, and repeats it once if it gets no answer;
 * then it sends request 1, which has none, and does not repeat it. */
#define REQUESTS 2
#define hasKey(r) ((r) == 0)

/* --- What lasts: the database --- */
#ifdef DOWN
bool up = false;            /* it is away at the beginning */
#else
bool up = true;
#endif
byte mark[WRITERS];         /* number of the last request of a writer that is stored */
bool claimed[REQUESTS];     /* keys */
byte stored[REQUESTS];      /* how often each request is in the log */
byte newest[WRITERS];       /* number of the last request of a writer in the log, for the rules only */

/* A transaction that is under way although its backend has given it up. */
typedef Group { byte writer; byte first; byte size; byte request[2] };
Group late;

/* --- What lasts: the spool, a file for each backend, in one folder --- */
typedef Record { byte writer; byte number; byte request };
typedef File {
	byte   holder;          /* the backend that has it open, or NOBODY */
	byte   size;
	Record record[RECORDS]; /* oldest first */
	byte   unsynced;        /* written and not synced: records after the first size ones */
};
File file[BACKENDS];

/* --- What a crash forgets --- */
bool on[BACKENDS];          /* it takes requests */
bool dead[BACKENDS];        /* it has crashed, and its processes below do not know yet */
bool drains[BACKENDS];      /* its drain is running */
byte writer[BACKENDS];
byte number[BACKENDS];      /* of the last request that it took from its queue */
byte own[BACKENDS];         /* its file */
bool spooling[BACKENDS];    /* everything goes through the spool */
chan queue[BACKENDS] = [2] of { byte };
byte writers;               /* how many there were */

/* --- What the client was told of a request --- */
#define OK       1          /* 200 */
#define ACCEPTED 2          /* 202 */
byte told[REQUESTS];

/* --- Faults that are left --- */
byte faults = FAULTS, crashes = CRASHES, outages = OUTAGES, lost = LOST, lates = LATE, aborts = ABORTS;

mtype = { DONE, ALREADY, UNAVAILABLE };

/* put stores one request of a transaction. Rules: each is stored once, and those of a
 * writer in the order in which it took them. */
inline put(pw, pn, pr) {
	if
#if BUG == 4
	:: hasKey(pr) && stored[pr] > 0 -> skip
#else
	:: hasKey(pr) && claimed[pr] -> skip /* repeated */
#endif
	:: else ->
		claimed[pr] = true;
		stored[pr]++;
		assert(stored[pr] == 1);
		assert(pn > newest[pw]);
		newest[pw] = pn
	fi
}

/* apply is one transaction: the mark, the keys and the events, or nothing. */
inline apply(aw, af, an, a0, a1, ar) {
	if
#if BUG != 1 && BUG != 8
	:: mark[aw] >= af -> ar = ALREADY
#endif
	:: else ->
		mark[aw] = af + an - 1;
		put(aw, af, a0);
		if
		:: an == 2 -> put(aw, af + 1, a1)
		:: else
		fi;
		ar = DONE
	fi
}

/* transact runs a transaction and says what the backend learns of it. */
inline transact(tw, tf, tn, t0, t1, tr) {
	if
	:: d_step { up -> apply(tw, tf, tn, t0, t1, tr) }
	:: d_step { !up -> tr = UNAVAILABLE }
	:: d_step { up && faults > 0 && lost > 0 -> faults--; lost--;
		apply(tw, tf, tn, t0, t1, tr); tr = UNAVAILABLE }
	:: d_step { up && faults > 0 && lates > 0 -> faults--; lates--;
		late.writer = tw; late.first = tf; late.size = tn; late.request[0] = t0; late.request[1] = t1;
		tr = UNAVAILABLE }
	:: d_step { up && faults > 0 && aborts > 0 -> faults--; aborts--;
#if BUG == 6
		mark[tw] = tf + tn - 1;
#endif
		tr = UNAVAILABLE }
	fi
}

/* write adds a request to a file; sync makes it last. */
inline write(wf, ww, wn, wr) {
	assert(file[wf].size + file[wf].unsynced < RECORDS);
	file[wf].record[file[wf].size + file[wf].unsynced].writer = ww;
	file[wf].record[file[wf].size + file[wf].unsynced].number = wn;
	file[wf].record[file[wf].size + file[wf].unsynced].request = wr;
	file[wf].unsynced++
}

inline sync(yf) { file[yf].size = file[yf].size + file[yf].unsynced; file[yf].unsynced = 0 }

/* drop removes the oldest records of a file. What is left is moved, so that equal
 * contents are equal states. */
inline drop(df, count) {
	i = 0;
	do
	:: i + count < RECORDS ->
		file[df].record[i].writer = file[df].record[i + count].writer;
		file[df].record[i].number = file[df].record[i + count].number;
		file[df].record[i].request = file[df].record[i + count].request;
		i++
	:: else -> break
	od;
	file[df].size = file[df].size - count;
	do
	:: i < RECORDS -> file[df].record[i].writer = 0; file[df].record[i].number = 0; file[df].record[i].request = 0; i++
	:: else -> break
	od;
	i = 0
}

/* keep puts a group into the spool. */
inline keep(kb, kf, kn, k0, k1) {
	write(own[kb], writer[kb], kf, k0);
	if
	:: kn == 2 -> write(own[kb], writer[kb], kf + 1, k1)
	:: else
	fi;
	spooling[kb] = true;
#if BUG != 5
	sync(own[kb])
#endif
}

/* tell answers a request. Rule: no 200 for an event that is not stored. */
inline tell(how, nr) {
	told[nr] = told[nr] | how;
	assert(how == ACCEPTED || stored[nr] > 0)
}

/* open opens a file of the spool. */
inline open(ob) {
#if BUG == 9
	writer[ob] = ob; /* a name that survives a crash; its numbers begin again */
#else
	writer[ob] = writers; writers++;
#endif
	f = 0;
	do
	:: file[f].holder != NOBODY -> f++
	:: else -> break
	od;
	own[ob] = f; file[f].holder = ob;
	f = 1 - f
}

/* How many records are taken over in one transaction of the spool. */
#if BUG == 7
#define TAKEN 1
#else
#define TAKEN file[f].size
#endif

inline ready(rb) { spooling[rb] = file[own[rb]].size > 0; on[rb] = true; f = 0 }

/* takeOver opens the other file too, if nobody has it. */
inline takeOver(tb) {
	if
	:: file[f].holder == NOBODY && file[f].size > 0 -> file[f].holder = tb
	:: else -> ready(tb)
	fi
}

/* A backend: this process takes groups from the queue, Drain empties the spool. What
 * the code does while it holds the mutex of the spool is one step here. */
proctype Backend(byte b) {
	byte n, r0, r1, first, f, i;
	mtype result;
begin:
	{
		d_step { file[0].holder == NOBODY || file[1].holder == NOBODY -> open(b) };
		d_step { takeOver(b) };
		do
		:: !on[b] && file[f].size > 0 -> /* what a crash between the steps leaves is in both files */
			d_step {
				i = 0;
				do
				:: i < TAKEN -> write(own[b], file[f].record[i].writer, file[f].record[i].number, file[f].record[i].request); i++
				:: else -> break
				od;
				sync(own[b]); i = 0
			};
			d_step { drop(f, TAKEN) }
		:: d_step { !on[b] && file[f].size == 0 -> file[f].holder = NOBODY; ready(b) }
		:: on[b] && nempty(queue[b]) ->
			d_step {
				queue[b]?r0; n = 1; first = number[b] + 1;
				if
				:: len(queue[b]) > 0 -> queue[b]?r1; n = 2
				:: len(queue[b]) == 0
				fi;
				number[b] = number[b] + n
			};
#if BUG == 4
			d_step { /* keys are claimed before the transaction */
				if
				:: up && hasKey(r0) && claimed[r0] -> tell(OK, r0)
				:: up && hasKey(r0) && !claimed[r0] -> claimed[r0] = true
				:: else
				fi
			};
#endif
			if
#if BUG != 3
			:: d_step { spooling[b] -> keep(b, first, n, r0, r1); result = UNAVAILABLE }
			:: atomic { !spooling[b] -> transact(writer[b], first, n, r0, r1, result) };
#else
			:: atomic { true -> transact(writer[b], first, n, r0, r1, result) };
#endif
				if
				:: d_step { result == UNAVAILABLE -> keep(b, first, n, r0, r1) }
				:: result == DONE
				fi
			fi;
			d_step {
				if
				:: result == DONE -> tell(OK, r0)
				:: else -> tell(ACCEPTED, r0)
				fi;
				if
				:: n == 2 && result == DONE -> tell(OK, r1)
				:: n == 2 && result != DONE -> tell(ACCEPTED, r1)
				:: else
				fi;
				n = 0; r0 = 0; r1 = 0; first = 0; result = 0
			}
#if BUG == 5
		:: d_step { file[own[b]].unsynced > 0 -> sync(own[b]) }
#endif
		od
	} unless { dead[b] };
	d_step { !drains[b] -> n = 0; r0 = 0; r1 = 0; first = 0; result = 0; f = 0; i = 0;
		number[b] = 0; spooling[b] = false; dead[b] = false };
	goto begin
}

proctype Drain(byte b) {
	byte n, w, first, r0, r1, covered, i;
	mtype result;
begin:
	atomic { on[b] -> drains[b] = true };
	{
		do
		:: d_step { spooling[b] && up && file[own[b]].size > 0 -> /* else it asks again later */
				w = file[own[b]].record[0].writer; first = file[own[b]].record[0].number;
				r0 = file[own[b]].record[0].request; n = 1; covered = mark[w];
				if /* records of one writer whose numbers follow each other are one transaction */
				:: file[own[b]].size > 1 && file[own[b]].record[1].writer == w && file[own[b]].record[1].number == first + 1 ->
					n = 2; r1 = file[own[b]].record[1].request
				:: else
				fi;
#if BUG == 1
				covered = 0;
#endif
#if BUG == 2
				drop(own[b], n);
#endif
			};
			if
			:: covered >= first + n - 1 -> result = DONE
			:: atomic { n == 2 && covered == first -> transact(w, first + 1, 1, r1, r1, result) }
			:: atomic { covered < first -> transact(w, first, n, r0, r1, result) }
			fi;
			d_step {
#if BUG != 2
				if
				:: result == DONE -> drop(own[b], n)
				:: else /* it takes what is oldest again */
				fi;
#endif
				spooling[b] = file[own[b]].size > 0;
				n = 0; w = 0; first = 0; r0 = 0; r1 = 0; covered = 0; result = 0
			}
		od
	} unless { dead[b] };
	d_step { n = 0; w = 0; first = 0; r0 = 0; r1 = 0; covered = 0; i = 0; result = 0; drains[b] = false };
	goto begin
}

inline send(r) {
	if
	:: d_step { on[0] && nfull(queue[0]) -> queue[0]!r }
	:: d_step { on[1] && nfull(queue[1]) -> queue[1]!r }
	fi
}

/* The backends are alike, so the first request may as well go to backend 1. */
proctype Client() {
	d_step { on[1] -> queue[1]!0 };
	if
	:: told[0] > 0 /* an answer */
#ifndef ONCE
	:: send(0)     /* none: the client repeats the request, perhaps to the other backend */
#endif
	:: true        /* it does not wait: the next request joins the first one's group */
	fi;
	send(1)
}

/* loseUnsynced is a loss of power: what was not synced is gone. */
inline loseUnsynced(lf) {
	do
	:: file[lf].unsynced > 0 ->
		file[lf].unsynced--;
		file[lf].record[file[lf].size + file[lf].unsynced].writer = 0;
		file[lf].record[file[lf].size + file[lf].unsynced].number = 0;
		file[lf].record[file[lf].size + file[lf].unsynced].request = 0
	:: else -> break
	od
}

inline crash(cb) {
	faults--; crashes--; on[cb] = false; dead[cb] = true;
	do
	:: len(queue[cb]) > 0 -> queue[cb]?_
	:: len(queue[cb]) == 0 -> break
	od;
	if
	:: file[0].holder == cb -> file[0].holder = NOBODY; loseUnsynced(0)
	:: else
	fi;
	if
	:: file[1].holder == cb -> file[1].holder = NOBODY; loseUnsynced(1)
	:: else
	fi
}

#define runs(b) (file[0].holder == b || file[1].holder == b)

proctype Crash() {
end:	do
	:: d_step { faults > 0 && crashes > 0 && runs(0) -> crash(0) }
	:: d_step { faults > 0 && crashes > 0 && runs(1) -> crash(1) }
	od
}

proctype Database() {
	mtype result;
end:	do
	:: d_step { up && faults > 0 && outages > 0 -> faults--; outages--; up = false }
	:: d_step { !up -> up = true }
	:: d_step { late.size > 0 && up ->
		apply(late.writer, late.first, late.size, late.request[0], late.request[1], result);
		late.writer = 0; late.first = 0; late.size = 0; late.request[0] = 0; late.request[1] = 0; result = 0 }
	od
}

/* When the faults have happened and nothing moves any more, every request that was
 * acknowledged is stored once, and the spools are empty. */
init {
	byte r;
	d_step { file[0].holder = NOBODY; file[1].holder = NOBODY };
	run Backend(0); on[0];
	run Backend(1); on[1];
	atomic { run Drain(0); run Drain(1); run Client(); run Crash(); run Database() };
	timeout ->
	d_step {
		do
		:: r < REQUESTS -> assert(told[r] == 0 || stored[r] == 1); r++
		:: else -> break
		od;
		assert(file[0].size + file[1].size == 0)
	}
}
