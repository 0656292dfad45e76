/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Never stuck: a client and a server over two rings that are nearly always full. The client begins
 * calls one behind the other (pipelined) or waits for each (synchronous), as it likes at each; one
 * call is a stream from the server, one a stream from the client, and neither side's program need
 * read a stream before everything else has ended. The server answers at once or later. Right: every call
 * ends, nothing is stuck (an invalid end state), and what is queued for a program that does not
 * read is bounded.
 *
 *   receive        transact.c: who waits keeps receiving; deliver.c: what is for others is queued
 *   begin, wait    call.c:ipc_begin with IPC_BLOCK, transact.c:ipc_transact
 *   server         deliver.c:take_request: no request without room for its reply
 *   owed           call.c:ipci_outbox_flush: a credit that finds no room waits for it
 *
 * How sides sleep and wake is waking.pml's; here who can go on does. Memory order plays no part.
 */
#define N_RING 1 /* frame that a ring holds */
#define N_CALLS 5
#define DOWN 0 /* this call is a stream from the server, */
#define UP 1   /* this one from the client; others are plain */
#define N_ITEMS 2
#define WINDOW 1

mtype = { REQUEST, REPLY, ITEM, CREDIT };
chan to_server = [N_RING] of { mtype, byte };
chan to_client = [N_RING] of { mtype, byte };

/* The client's. */
bool sent[N_CALLS], ended[N_CALLS];
byte n_queued, n_up, credit_up = WINDOW;
byte owed_down, n_read;
bool eager; /* programs read streams while other calls go on */
#define PLAIN_ENDED (ended[2] && ended[3] && ended[4])
/* The server's. */
bool deferred[N_CALLS];
bool streaming;
byte n_down, credit_down = WINDOW;
byte n_got, n_waiting, owed_up;

inline receive()
{
#ifdef WEAKEN_PARK
	/* Leaves what is for others where it is. */
	if
	:: to_client?REPLY, id -> ended[id] = true
	:: to_client?CREDIT, id -> credit_up = credit_up + 1
	fi
#else
	if
	:: to_client?REPLY, id -> ended[id] = true
	:: to_client?CREDIT, id -> credit_up = credit_up + 1
	:: to_client?ITEM, id ->
		n_queued = n_queued + 1;
		assert(n_queued <= WINDOW)
	fi
#endif
}

/* What needs room and has it. */
#define MAY_SEND_UP (sent[UP] && n_up < N_ITEMS && n_up < credit_up && nfull(to_server))
#define MAY_CREDIT_DOWN (owed_down > 0 && nfull(to_server))

inline send_up()
{
	atomic {
		to_server!ITEM, UP;
		n_up = n_up + 1
	}
}

inline send_credit_down()
{
	atomic {
		to_server!CREDIT, DOWN;
		owed_down = owed_down - 1
	}
}

inline read_down()
{
	n_queued = n_queued - 1;
	n_read = n_read + 1;
#ifdef WEAKEN_OWED
	if
	:: nfull(to_server) -> to_server!CREDIT, DOWN
	:: full(to_server)
	fi
#else
	owed_down = owed_down + 1
#endif
}

active proctype client()
{
	byte next, id;

	if
	:: eager = true
	:: true
	fi;
	do
	:: next == N_CALLS -> break
	:: next < N_CALLS ->
		do
		:: nfull(to_server) ->
			to_server!REQUEST, next;
			break
#ifndef WEAKEN_RECEIVE
		:: receive()
#endif
		:: eager && n_queued > 0 -> read_down()
		od;
		sent[next] = true;
		if
		:: next > UP -> /* synchronous */
			do
			:: ended[next] -> break
			:: receive()
			:: eager && n_queued > 0 -> read_down()
			:: MAY_CREDIT_DOWN -> send_credit_down()
			:: MAY_SEND_UP -> send_up()
			od
		:: true
		fi;
		next = next + 1
	od;
	/* The plain calls end while nobody reads the stream. */
	do
	:: PLAIN_ENDED -> break
	:: receive()
	:: eager && n_queued > 0 -> read_down()
	:: MAY_CREDIT_DOWN -> send_credit_down()
	:: MAY_SEND_UP -> send_up()
	od;
	do
	:: ended[DOWN] && n_queued == 0 && ended[UP] -> break
	:: n_queued > 0 -> read_down()
	:: MAY_CREDIT_DOWN -> send_credit_down()
#ifdef WEAKEN_PARK
	:: to_client?ITEM, id -> n_queued = n_queued + 1
#endif
	:: receive()
	:: MAY_SEND_UP -> send_up()
	od;
	assert(n_read == N_ITEMS)
}

#define ROOM nfull(to_client)
#ifdef WEAKEN_CREDIT
#define MAY_SEND_DOWN (streaming && n_down < N_ITEMS && ROOM)
#else
#define MAY_SEND_DOWN (streaming && n_down < N_ITEMS && n_down < credit_down && ROOM)
#endif

inline answer(call)
{
	deferred[call] = false;
	to_client!REPLY, call
}

active proctype server()
{
	byte id;

end:
	do
	:: ROOM && to_server?[REQUEST, id] ->
		to_server?REQUEST, id;
		if
		:: id == DOWN -> streaming = true
		:: id == UP
		:: id > UP -> to_client!REPLY, id /* there is room: nobody else writes */
		:: id > UP -> deferred[id] = true
		fi
	:: to_server?CREDIT, id -> credit_down = credit_down + 1
	:: to_server?ITEM, id ->
		n_waiting = n_waiting + 1;
		assert(n_waiting <= WINDOW)
	:: deferred[2] && ROOM -> answer(2)
	:: deferred[3] && ROOM -> answer(3)
	:: deferred[4] && ROOM -> answer(4)
	:: MAY_SEND_DOWN -> to_client!ITEM, DOWN; n_down = n_down + 1
	:: streaming && n_down == N_ITEMS && ROOM -> streaming = false; to_client!REPLY, DOWN
	/* The server's program reads the client's stream when the plain calls are done with. */
	:: n_waiting > 0 && (eager || PLAIN_ENDED) ->
		n_waiting = n_waiting - 1;
		n_got = n_got + 1;
		owed_up = owed_up + 1
	:: owed_up > 0 && ROOM -> owed_up = owed_up - 1; to_client!CREDIT, UP
	:: n_got == N_ITEMS && owed_up == 0 && ROOM -> n_got = 0; to_client!REPLY, UP
	od
}
