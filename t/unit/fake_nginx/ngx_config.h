/*
 * As much of nginx as the shm room uses, for tests that run it with threads
 * in the place of workers.  What nginx keeps per process is per thread here.
 */

#ifndef FAKE_NGX_CONFIG_H
#define FAKE_NGX_CONFIG_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>


#define ngx_inline          inline
#define NGX_MAX_PROCESSES   1024

typedef intptr_t            ngx_int_t;
typedef uintptr_t           ngx_uint_t;
typedef unsigned char       u_char;
typedef uintptr_t           ngx_msec_t;
typedef intptr_t            ngx_msec_int_t;
typedef unsigned long       ngx_atomic_uint_t;
typedef pid_t               ngx_pid_t;


#endif
