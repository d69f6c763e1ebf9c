/* SPDX-License-Identifier: GPL-2.0-or-later */
/* gigalock info: what the card and its driver are. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tools-common.h"

/* The driver's folder in sysfs, to be freed; NULL when there is none. */
static char *driver_path(const char *bus)
{
	char link[128];

	snprintf(link, sizeof(link), "/sys/bus/pci/devices/%s/driver", bus);
	return realpath(link, NULL);
}

static int say_json(const struct tool *tool, const struct glk_card *card,
		    const struct gigalock_info *info, const char *bus,
		    const char *driver)
{
	struct json json;

	if (!json_begin(&json, tool, true))
		return EXIT_FAILED;
	json_string(&json, "device", glk_card_device(card));
	json_string(&json, "driver", driver);
	json_string(&json, "bus", bus);
	json_u64(&json, "abi_version", info->abi_version);
	json_u64(&json, "device_version", info->device_version);
	json_u64(&json, "channels", info->channels);
	json_u64(&json, "address_width", info->address_width);
	json_u64(&json, "card_bytes", info->card_bytes);
	json_u64(&json, "max_xfer_bytes", info->max_xfer_bytes);
	json_array(&json, "strategies");
	for (uint32_t s = 0; s < 32; s++)
		if (info->strategies & (UINT32_C(1) << s))
			json_string(&json, NULL, glk_strategy_name(s));
	json_end_array(&json);
	json_u64(&json, "locks", info->locks);
	json_u64(&json, "locked_bytes", info->locked_bytes);
	json_u64(&json, "failures", info->failures);
	json_u64(&json, "buddy_max_bytes", info->buddy_max_bytes);
	json_u64(&json, "swiotlb_max_bytes", info->swiotlb_max_bytes);
	json_bool(&json, "iommu", info->iommu);
	return json_done(&json, tool, EXIT_DONE);
}

static void say_text(const struct glk_card *card,
		     const struct gigalock_info *info, const char *bus,
		     const char *driver)
{
	printf("device            %s\n", glk_card_device(card));
	printf("bus               %s\n", bus);
	printf("driver            %s\n", driver ? driver : "not found in /sys");
	printf("versions          card %u.%u, ABI %u\n", info->device_version >> 16,
	       info->device_version & 0xffff, info->abi_version);
	printf("channels          %u\n", info->channels);
	printf("address width     %u bits\n", info->address_width);
	printf("card memory       %s\n", SIZE(info->card_bytes));
	printf("largest transfer  %s a descriptor\n", SIZE(info->max_xfer_bytes));
	printf("strategies       ");
	for (uint32_t s = 0; s < 32; s++)
		if (info->strategies & (UINT32_C(1) << s))
			printf(" %s", glk_strategy_name(s));
	printf("\nlocked now        %u lock%s, %s\n", info->locks,
	       info->locks == 1 ? "" : "s", SIZE(info->locked_bytes));
	printf("failures          %" PRIu64 "\n", (uint64_t)info->failures);
	printf("largest block     %s (page allocator)\n",
	       SIZE(info->buddy_max_bytes));
	if (info->swiotlb_max_bytes)
		printf("bounced           up to %s in one piece\n",
		       SIZE(info->swiotlb_max_bytes));
	else
		printf("bounced           nothing\n");
	printf("IOMMU             %s\n", info->iommu ? "translates" : "no");
}

static int run(struct tool *tool, int argc, char **argv)
{
	struct gigalock_info info = { .size = sizeof(info) };
	struct gigalock_failure failure;
	struct glk_card *card;
	char bus[sizeof(info.bus) + 1] = "";
	char *driver;
	int code = parse_options(tool, NULL, 0, argc, argv);
	int ret;

	if (code)
		return code;
	if (glk_card_open(tool->device, &card, &failure))
		return no_card(tool, &failure);
	ret = glk_card_info(card, &info);
	if (ret) {
		glk_card_close(card);
		return internal_error(tool, "the card's info", -ret);
	}
	memcpy(bus, info.bus, sizeof(info.bus));
	driver = driver_path(bus);
	if (tool->json)
		code = say_json(tool, card, &info, bus, driver);
	else
		say_text(card, &info, bus, driver);
	free(driver);
	glk_card_close(card);
	return code;
}

const struct command command_info = {
	.name = "info",
	.summary = "what the card and its driver are",
	.help = "",
	.run = run,
};
