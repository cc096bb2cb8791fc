/*
 * Copyright (c) 2026 linux.vserver contributors
 * GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Traffic between two processes, each on a processor of its own, as fast as they can.
 *
 *   traffic serve KIND CPU ADDRESS
 *       says "ready", then answers until its parent ends
 *   traffic measure KIND CPU MILLISECONDS ROUNDS (NETWORK GROUP ADDRESS)...
 *       visits each of the servers in turn, from this network namespace and this control group (both are paths);
 *       prints a line for each round: how many units a second there were with each
 *
 * Kinds, and what a second is counted in:
 *   stream    bytes of one TCP connection that the server has taken
 *   request   one byte there and one back, over one TCP connection
 *   connect   TCP connections made, accepted and closed
 *   datagram  UDP datagrams of one byte that the server has answered, WINDOW of them under way
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 7000, WINDOW = 32, CHUNK = 1 << 17, PATIENCE = 5 };

static char chunk[CHUNK];

static int check(int result, const char *what)
{
	if (result < 0)
		err(1, "%s", what);
	return result;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec * 1e-9;
}

static int connected(int type, const struct sockaddr_in *to)
{
	int fd = check(socket(AF_INET, type | SOCK_CLOEXEC, 0), "socket");

	check(connect(fd, (const struct sockaddr *)to, sizeof(*to)), "connect");
	return fd;
}

static void serve_datagrams(int fd)
{
	struct sockaddr_in from;
	socklen_t size = sizeof(from);

	while (check(recvfrom(fd, chunk, sizeof(chunk), 0, (struct sockaddr *)&from, &size), "recvfrom"))
		check(sendto(fd, chunk, 1, 0, (struct sockaddr *)&from, size), "sendto");
}

static void serve_connections(int listener, const char *kind)
{
	for (;;) {
		int fd = check(accept(listener, NULL, NULL), "accept");

		if (!strcmp(kind, "stream"))
			while (recv(fd, chunk, sizeof(chunk), 0) > 0)
				;
		else if (!strcmp(kind, "request"))
			while (recv(fd, chunk, 1, 0) > 0 && send(fd, chunk, 1, MSG_NOSIGNAL) > 0)
				;
		close(fd);
	}
}

static void serve(const char *kind, struct sockaddr_in at)
{
	int datagrams = !strcmp(kind, "datagram");
	int fd = check(socket(AF_INET, datagrams ? SOCK_DGRAM : SOCK_STREAM, 0), "socket");

	check(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl");
	check(bind(fd, (struct sockaddr *)&at, sizeof(at)), "bind");
	if (!datagrams)
		check(listen(fd, 64), "listen");
	puts("ready");
	fflush(stdout);
	if (datagrams)
		serve_datagrams(fd);
	else
		serve_connections(fd, kind);
}

static long stream(const struct sockaddr_in *to, double end)
{
	int fd = connected(SOCK_STREAM, to);
	long bytes = 0;

	while (now() < end)
		bytes += check(send(fd, chunk, sizeof(chunk), 0), "send");
	shutdown(fd, SHUT_WR);
	check(recv(fd, chunk, 1, 0), "recv"); /* the server has taken it all */
	close(fd);
	return bytes;
}

static long answered(int type, const struct sockaddr_in *to, double end, int window)
{
	int fd = connected(type, to);
	long count = 0;

	for (int sent = 0; sent < window; sent++)
		check(send(fd, chunk, 1, 0), "send");
	for (; now() < end; count++) {
		check(recv(fd, chunk, 1, 0), "recv");
		check(send(fd, chunk, 1, 0), "send");
	}
	close(fd);
	return count;
}

static long connections(const struct sockaddr_in *to, double end)
{
	struct linger reset = {.l_onoff = 1}; /* a port is free again at once */
	long count = 0;

	for (; now() < end; count++) {
		int fd = connected(SOCK_STREAM, to);

		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		check(recv(fd, chunk, 1, 0), "recv"); /* the server has closed */
		close(fd);
	}
	return count;
}

static double rate(const char *kind, const struct sockaddr_in *to, double seconds)
{
	double began = now(), end = began + seconds;
	long units;

	alarm(PATIENCE); /* nobody waits for what does not come */
	if (!strcmp(kind, "connect"))
		units = connections(to, end);
	else if (!strcmp(kind, "stream"))
		units = stream(to, end);
	else if (!strcmp(kind, "request"))
		units = answered(SOCK_STREAM, to, end, 1);
	else
		units = answered(SOCK_DGRAM, to, end, WINDOW);
	return units / (now() - began);
}

/* Sockets made from now on are in that network namespace and belong to that control group. */
static void enter(const char *network, const char *group)
{
	int namespace = check(open(network, O_RDONLY | O_CLOEXEC), network);
	int directory = check(open(group, O_RDONLY | O_DIRECTORY | O_CLOEXEC), group);
	int processes = check(openat(directory, "cgroup.procs", O_WRONLY | O_CLOEXEC), group);

	check(setns(namespace, CLONE_NEWNET), "setns");
	check(write(processes, "0", 1), "enter the control group");
	close(namespace);
	close(directory);
	close(processes);
}

static struct sockaddr_in address(const char *text)
{
	struct sockaddr_in made = {.sin_family = AF_INET, .sin_port = htons(PORT)};

	if (inet_pton(AF_INET, text, &made.sin_addr) != 1)
		errx(2, "no address: %s", text);
	return made;
}

static void measure(const char *kind, double seconds, int rounds, int count, char **servers)
{
	double rates[count];

	for (int round = 0; round < rounds; round++) {
		for (int turn = 0; turn < count; turn++) {
			int which = (round + turn) % count; /* nobody always comes after the same one */
			char **server = servers + 3 * which;
			struct sockaddr_in to = address(server[2]);

			enter(server[0], server[1]);
			rates[which] = rate(kind, &to, seconds);
		}
		for (int which = 0; which < count; which++)
			printf("%.1f%c", rates[which], which < count - 1 ? ' ' : '\n');
	}
}

/* The processor is ours, but for what the kernel has to do. */
static void take_processor(int number)
{
	struct sched_param first = {.sched_priority = 1};
	cpu_set_t processors;

	CPU_ZERO(&processors);
	CPU_SET(number, &processors);
	check(sched_setaffinity(0, sizeof(processors), &processors), "sched_setaffinity");
	check(sched_setscheduler(0, SCHED_RR, &first), "sched_setscheduler");
}

int main(int count, char **words)
{
	int serving = count == 5 && !strcmp(words[1], "serve");

	if (!serving && (count < 9 || count % 3 || strcmp(words[1], "measure")))
		errx(2, "see the top of the source");
	take_processor(atoi(words[3]));
	if (serving)
		serve(words[2], address(words[4]));
	else
		measure(words[2], atoi(words[4]) / 1000.0, atoi(words[5]), count / 3 - 2, words + 6);
	return 0;
}
