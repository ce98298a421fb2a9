"""`python -m banyan_hp.cli`."""

import sys

from .main import main

sys.exit(main())
