package contracttest_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/understudy-ha/understudy/plugins/contract"
	"github.com/understudy-ha/understudy/plugins/contract/contracttest"
)

// The test binary is a plugin when a host starts it.
func TestMain(m *testing.M) {
	handshake := contract.Handshake()
	if os.Getenv(handshake.MagicCookieKey) != "" || len(os.Args) == 1 {
		contract.Serve(contracttest.Plugin("fake"))
		return
	}
	goleak.VerifyTestMain(m)
}

func TestSuiteInProcess(t *testing.T) {
	contracttest.Run(t, func(testing.TB) contract.Plugin { return contracttest.Plugin("fake") }, contracttest.Config{})
}

func TestSuiteOnAgentAlone(t *testing.T) {
	contracttest.RunAgent(t, func(testing.TB) contract.Agent { return &contracttest.Agent{Name: "fake"} })
}

func TestSuiteOnBinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	contracttest.RunBinary(t, self, contracttest.Config{})
}
