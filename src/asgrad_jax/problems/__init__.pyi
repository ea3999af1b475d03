"""The public names: see `__init__.py`."""

# ready problems
from .from_loss import from_loss as from_loss
from .local_steps import dylu_steps as dylu_steps
from .local_steps import local_steps as local_steps
from .logistic import LogisticRegression as LogisticRegression
from .logistic import logistic_regression as logistic_regression
from .quadratic import Quadratic as Quadratic
from .quadratic import quadratic as quadratic
from .quadratic import ringmaster_quadratic as ringmaster_quadratic

# parts of one's own
from .partition import partition_rows as partition_rows
from .problem import GradientCost as GradientCost
from .problem import Problem as Problem
from .problem import SampledProblem as SampledProblem
from .problem import VmappedProblem as VmappedProblem
from .problem import lane_norm as lane_norm
from .sampling import MiniBatches as MiniBatches

# regularisers
from .regularizers import Regularizer as Regularizer
from .regularizers import register_regularizer as register_regularizer

# what a problem knows of itself
from .constants import KnownConstants as KnownConstants
from .constants import LowerBound as LowerBound
from .constants import NoiseVariance as NoiseVariance
from .constants import Smoothness as Smoothness
from .constants import batch_variance as batch_variance
from .eigenvalues import mean_gram_eigenvalues as mean_gram_eigenvalues
