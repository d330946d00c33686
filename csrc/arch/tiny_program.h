/*
 * tiny_program.h - the instructions of exit(0), for a program of our own (kthread/raw.c).
 */
#ifndef FILAR_ARCH_TINY_PROGRAM_H
#define FILAR_ARCH_TINY_PROGRAM_H

#include <elf.h>

#if defined(__x86_64__)
#define TINY_PROGRAM_MACHINE EM_X86_64
/* xor edi,edi; mov eax,exit_group; syscall */
#define TINY_PROGRAM_CODE 0x31, 0xff, 0xb8, 0xe7, 0x00, 0x00, 0x00, 0x0f, 0x05
#elif defined(__aarch64__)
#define TINY_PROGRAM_MACHINE EM_AARCH64
/* mov x0,0; mov x8,exit_group; svc 0 */
#define TINY_PROGRAM_CODE    0x00, 0x00, 0x80, 0xd2, 0xc8, 0x0b, 0x80, 0xd2, 0x01, 0x00, 0x00, 0xd4
#else
#error "filar runs on x86-64 and aarch64"
#endif

#endif
