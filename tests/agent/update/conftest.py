import sys
from pathlib import Path

# update_plant.py lies beside the tests of the update loop.
sys.path.insert(0, str(Path(__file__).parents[1]))
