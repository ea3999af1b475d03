"""The public names: see `__init__.py`."""

# ready problems
from .cnn import cnn as cnn
from .from_loss import from_loss as from_loss
from .generated import from_generator as from_generator
from .least_squares import least_squares as least_squares
from .linear_models import linear_model as linear_model
from .local_steps import dylu_steps as dylu_steps
from .local_steps import local_steps as local_steps
from .logistic import LogisticRegression as LogisticRegression
from .logistic import logistic_regression as logistic_regression
from .matrix_factorization import matrix_factorization as matrix_factorization
from .mlp import mlp as mlp
from .multinomial import multinomial_logistic as multinomial_logistic
from .quadratic import Quadratic as Quadratic
from .quadratic import quadratic as quadratic
from .quadratic import ringmaster_quadratic as ringmaster_quadratic
from .robust_regression import robust_regression as robust_regression
from .transformer import transformer as transformer

# parts of one's own
from .cnn import cnn_scores as cnn_scores
from . import splits as splits
from .linear_models import RowLoss as RowLoss
from .mlp import mlp_scores as mlp_scores
from .multinomial import cross_entropy as cross_entropy
from .partition import partition_rows as partition_rows
from .problem import GradientCost as GradientCost
from .problem import Problem as Problem
from .problem import SampledProblem as SampledProblem
from .problem import VmappedProblem as VmappedProblem
from .problem import lane_norm as lane_norm
from .sampling import MiniBatches as MiniBatches
from .shared_data import SharedData as SharedData
from .shared_data import shared_data as shared_data
from .split import Split as Split
from .transformer import transformer_scores as transformer_scores
from .with_metrics import WithMetrics as WithMetrics
from .with_metrics import with_metrics as with_metrics

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
