"""Where git and compilers are run: mirrors of upstreams, the rebase of patch queues, source trees, builds."""
