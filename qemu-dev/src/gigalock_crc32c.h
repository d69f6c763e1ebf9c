/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CRC-32C (RFC 3720), as fast as the host allows. */
#ifndef GIGALOCK_CRC32C_H
#define GIGALOCK_CRC32C_H

/* Prepare the tables; call it once before the other function. */
void gl_crc32c_init(void);

/*
 * Continue the checksum @crc with @len bytes at @data. A checksum starts with
 * 0, and every value returned is a finished one:
 * gl_crc32c(0, "123456789", 9) is 0xe3069283.
 */
uint32_t gl_crc32c(uint32_t crc, const void *data, size_t len);
/* The checksum of two messages, from theirs; @len is that of the second. */
uint32_t gl_crc32c_append(uint32_t crc, uint32_t next, uint64_t len);

#endif /* GIGALOCK_CRC32C_H */
