# labels: long
# timeout: 600
"""`orthant probe` against scikit-learn, where that is installed: every latent of every task."""
import sys
import unittest

from probes import L2, ProbeCase

try:
    from sklearn.linear_model import LogisticRegression
except ImportError:
    LogisticRegression = None


def fit(value, label):
    model = LogisticRegression(C=1 / (L2 * len(label)), solver="newton-cholesky", tol=1e-12,
                               max_iter=10000)
    model.fit(value[:, None], label)
    return model.coef_[0, 0], model.intercept_[0]


class AgainstScikitLearn(ProbeCase):
    def test_every_latent(self):
        figures, _ = self.probe("--top", 1000)
        self.check_fits(figures, fit, 1e-7)


if __name__ == "__main__":
    if LogisticRegression is None:
        print("skipped: scikit-learn is not installed (bash jobs/packages.sh ci)")
        sys.exit(77)
    unittest.main()
